package dev.embedwire;

import com.google.protobuf.ByteString;
import com.google.protobuf.UnsafeByteOperations;
import dev.embedwire.v1.CreateEmbeddingFromUploadRequest;
import dev.embedwire.v1.UploadChunk;
import io.grpc.ClientCall;
import java.io.IOException;
import java.io.InputStream;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;

/** Sends an upload in its own thread, since files block: the request, then the chunks of each file. */
final class Upload implements Sender<CreateEmbeddingFromUploadRequest> {
    private final Request request;
    private final int chunkBytes;
    private final Set<Integer> answered = ConcurrentHashMap.newKeySet();
    private final Thread thread = new Thread(this::run, "embedwire-upload");
    private ClientCall<CreateEmbeddingFromUploadRequest, ?> call;
    private Consumer<RuntimeException> failed;
    private boolean isOver;

    Upload(Request request, int chunkBytes) {
        this.request = request;
        this.chunkBytes = chunkBytes;
        thread.setDaemon(true);
    }

    /** Stops the upload of files whose inputs have a result: the server would discard the rest. */
    List<Event> seen(List<Event> events) {
        events.stream().filter(Result.class::isInstance).forEach(event -> answered.add(event.inputIndex()));
        return events;
    }

    @Override
    public void send(ClientCall<CreateEmbeddingFromUploadRequest, ?> call, Consumer<RuntimeException> failed) {
        this.call = call;
        this.failed = failed;
        thread.start();
    }

    @Override
    public synchronized void ready() {
        notifyAll();
    }

    /** Stops the upload: no further file is opened. The interrupt ends reads that can be interrupted. */
    @Override
    public synchronized void stop() {
        isOver = true;
        notifyAll();
        thread.interrupt();
    }

    private void run() {
        try {
            if (write(CreateEmbeddingFromUploadRequest.newBuilder().setRequest(request.message())) && writeFiles()) {
                finish();
            }
        } catch (RuntimeException error) {
            fail(error);
        } catch (InterruptedException error) {
            fail(StatusDetails.interrupted(""));
        }
    }

    /** Reports an error, unless it is a consequence of `stop`. */
    private void fail(RuntimeException error) {
        boolean wasStopped;
        synchronized (this) {
            wasStopped = isOver;
        }
        if (!wasStopped) {
            failed.accept(error);
        }
    }

    private boolean writeFiles() throws InterruptedException {
        for (Map.Entry<Integer, Input> file : request.uploads().entrySet()) {
            try {
                if (!write(file.getKey(), file.getValue().source().orElseThrow())) {
                    return false;
                }
            } catch (IOException | RuntimeException | Error error) { // of the file, or of the caller's stream
                throw Unreadable.exception(file.getKey(), file.getValue(), error);
            }
        }
        return true;
    }

    private boolean write(int index, Source source) throws IOException, InterruptedException {
        if (!mayOpen(source)) {
            return false;
        }
        try (InputStream content = source.open()) {
            byte[] data = content.readNBytes(chunkBytes);
            while (data.length > 0 && !answered.contains(index)) {
                if (!write(chunk(index, UnsafeByteOperations.unsafeWrap(data), false))) {
                    return false;
                }
                data = content.readNBytes(chunkBytes);
            }
        }
        return write(chunk(index, ByteString.EMPTY, true));
    }

    private synchronized boolean mayOpen(Source source) {
        if (!isOver) {
            source.markOpened();
        }
        return !isOver;
    }

    /** Sends a message when the transport accepts it; false if the call is over. */
    private synchronized boolean write(CreateEmbeddingFromUploadRequest.Builder message) throws InterruptedException {
        while (!isOver && !call.isReady()) {
            wait();
        }
        if (!isOver) {
            call.sendMessage(message.build());
        }
        return !isOver;
    }

    private synchronized void finish() {
        if (!isOver) {
            call.halfClose();
        }
    }

    private static CreateEmbeddingFromUploadRequest.Builder chunk(int index, ByteString data, boolean last) {
        var chunk = UploadChunk.newBuilder().setInputIndex(index).setData(data).setLast(last);
        return CreateEmbeddingFromUploadRequest.newBuilder().setChunk(chunk);
    }
}
