package dev.embedwire;

import com.google.protobuf.ByteString;
import com.google.protobuf.UnsafeByteOperations;
import dev.embedwire.v1.CreateEmbeddingRequest;
import dev.embedwire.v1.CreateEmbeddingUnaryRequest;
import dev.embedwire.v1.FileSource;
import dev.embedwire.v1.MediaSource;
import dev.embedwire.v1.ProcessingMode;
import dev.embedwire.v1.UploadSource;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.FileSystemException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.TreeMap;

/** The request message of a call, and the files that follow it as an upload. */
final class Request {
    /** The maximum size of a message, less 1 MiB for its other fields. */
    static final int MESSAGE_BYTES = (16 << 20) - (1 << 20);

    /** Files of together at most this size are sent in the message, as the contract recommends. */
    static final int INLINE_BYTES = 1 << 20;

    private static final int SEGMENTS_PER_MESSAGE = 100;

    // The default deadlines; see Options.Builder.timeout.
    private static final Duration OTHER_TIMEOUT = Duration.ofSeconds(60); // texts and images
    private static final Duration SYNC_TIMEOUT = Duration.ofMinutes(10); // all audio is processed synchronously
    private static final Duration TASK_TIMEOUT = Duration.ofHours(1); // audio may be processed as a task

    private final CreateEmbeddingRequest.Builder message;
    private final Map<Integer, Input> uploads = new TreeMap<>();
    private Duration defaultTimeout = OTHER_TIMEOUT;

    Request(String model, Options options) {
        message = CreateEmbeddingRequest.newBuilder()
                .setModelName(model)
                .setVectorEncoding(options.encoding)
                .setMaxSegmentsPerMessage(SEGMENTS_PER_MESSAGE)
                .setIncludeUncertainty(options.includeUncertainty);
        options.maxRetries.ifPresent(message::setMaxRetries);
        options.dimensions.ifPresent(message::setDimensions);
    }

    /** Decides for each file whether it is sent in the message, and reads those that are. */
    static Request of(String model, List<? extends Input> inputs, Options options) {
        var request = new Request(model, options);
        long room = INLINE_BYTES;
        for (Input input : inputs) {
            try {
                OptionalLong size =
                        input.source().isPresent() ? input.source().get().size() : OptionalLong.of(0);
                boolean isInline = size.isPresent() && size.getAsLong() <= room;
                room -= isInline ? size.getAsLong() : 0;
                request.add(input, size, isInline);
            } catch (IOException error) {
                throw Unreadable.exception(request.count(), input, error);
            }
        }
        return request;
    }

    /** Adds an input. A file that is sent in the message is read now. */
    void add(Input input, OptionalLong size, boolean isInline) throws IOException {
        var media = MediaSource.newBuilder();
        if (input.source().isPresent()) {
            write(input.source().get(), size, isInline, media);
        }
        var added = dev.embedwire.v1.Input.newBuilder().setKey(input.key());
        input.write(added, media.build());
        if (!isInline) {
            uploads.put(count(), input);
        }
        Duration needed = timeout(added);
        defaultTimeout = needed.compareTo(defaultTimeout) > 0 ? needed : defaultTimeout;
        message.addInputs(added);
    }

    int count() {
        return message.getInputsCount();
    }

    /** Returns the inputs whose files follow the message in chunks, by index. */
    Map<Integer, Input> uploads() {
        return uploads;
    }

    boolean isOneText() {
        return count() == 1 && message.getInputs(0).hasText();
    }

    /** Returns the default timeout of a call with these inputs. */
    Duration defaultTimeout() {
        return defaultTimeout;
    }

    private static Duration timeout(dev.embedwire.v1.InputOrBuilder input) {
        if (!input.hasAudio()) {
            return OTHER_TIMEOUT;
        }
        boolean isSync = input.getAudio().getProcessingMode() == ProcessingMode.PROCESSING_MODE_SYNC;
        return isSync ? SYNC_TIMEOUT : TASK_TIMEOUT;
    }

    CreateEmbeddingRequest message() {
        return message.build();
    }

    /** Returns the message of the unary call. */
    CreateEmbeddingUnaryRequest unary() {
        var unary = CreateEmbeddingUnaryRequest.newBuilder()
                .setModelName(message.getModelName())
                .addAllInputs(message.getInputsList())
                .setVectorEncoding(message.getVectorEncoding())
                .setIncludeUncertainty(message.getIncludeUncertainty());
        if (message.hasMaxRetries()) {
            unary.setMaxRetries(message.getMaxRetries());
        }
        if (message.hasDimensions()) {
            unary.setDimensions(message.getDimensions());
        }
        return unary.build();
    }

    private static void write(Source source, OptionalLong size, boolean isInline, MediaSource.Builder media)
            throws IOException {
        if (source.remote().isPresent()) {
            media.mergeFrom(source.remote().get());
        } else if (isInline) {
            media.setFile(FileSource.newBuilder()
                    .setData(whole(source, size.getAsLong()))
                    .setFileName(source.fileName())
                    .setMediaType(source.mediaType()));
        } else {
            var upload =
                    UploadSource.newBuilder().setFileName(source.fileName()).setMediaType(source.mediaType());
            size.ifPresent(upload::setSizeBytes);
            media.setUpload(upload);
        }
    }

    private static ByteString whole(Source source, long size) throws IOException {
        try (InputStream content = source.open()) {
            byte[] data = content.readNBytes(Math.toIntExact(size) + 1);
            if (data.length > size) {
                throw new FileSystemException("", null, "the file became larger while it was read");
            }
            return UnsafeByteOperations.unsafeWrap(data);
        }
    }
}
