package dev.embedwire;

import com.google.protobuf.ByteString;
import com.google.protobuf.UnsafeByteOperations;
import dev.embedwire.v1.CreateEmbeddingFromUploadRequest;
import dev.embedwire.v1.UploadChunk;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Writes an upload in its own thread: the request, then the chunks of each file. The exception of a file is kept for
 * the reader of the responses, and cancels the call.
 */
final class Upload implements Runnable {
    private final Call<CreateEmbeddingFromUploadRequest, ?> call;
    private final Requests.Plan plan;
    private final int chunkBytes;
    private final Set<Integer> answered = ConcurrentHashMap.newKeySet();
    private volatile Optional<RuntimeException> failure = Optional.empty();

    Upload(Call<CreateEmbeddingFromUploadRequest, ?> call, Requests.Plan plan, int chunkBytes) {
        this.call = call;
        this.plan = plan;
        this.chunkBytes = chunkBytes;
    }

    /** Sends no more of this file: its input has a result, so the rest would be discarded. */
    void answered(int index) {
        answered.add(index);
    }

    /** Why a file could not be read. */
    Optional<RuntimeException> failure() {
        return failure;
    }

    void start() {
        var thread = new Thread(this, "embedwire-upload");
        thread.setDaemon(true);
        thread.start();
    }

    @Override
    public void run() {
        try {
            if (write()) {
                call.finish();
            }
        } catch (IOException error) {
            fail(new UncheckedIOException(error));
        } catch (RuntimeException error) {
            fail(error);
        } catch (InterruptedException error) {
            call.cancel(); // only a stream of the caller can interrupt
        }
    }

    private void fail(RuntimeException error) {
        failure = Optional.of(error);
        call.cancel();
    }

    private boolean write() throws IOException, InterruptedException {
        boolean goesOn = call.write(CreateEmbeddingFromUploadRequest.newBuilder()
                .setRequest(plan.request())
                .build());
        for (Map.Entry<Integer, Source> file : plan.uploads().entrySet()) {
            goesOn = goesOn && write(file.getKey(), file.getValue());
        }
        return goesOn;
    }

    private boolean write(int index, Source source) throws IOException, InterruptedException {
        try (InputStream content = source.open()) {
            byte[] data = content.readNBytes(chunkBytes);
            while (data.length > 0 && !answered.contains(index)) {
                if (!call.write(chunk(index, UnsafeByteOperations.unsafeWrap(data), false))) {
                    return false;
                }
                data = content.readNBytes(chunkBytes);
            }
        }
        return call.write(chunk(index, ByteString.EMPTY, true));
    }

    private static CreateEmbeddingFromUploadRequest chunk(int index, ByteString data, boolean last) {
        var chunk = UploadChunk.newBuilder().setInputIndex(index).setData(data).setLast(last);
        return CreateEmbeddingFromUploadRequest.newBuilder().setChunk(chunk).build();
    }
}
