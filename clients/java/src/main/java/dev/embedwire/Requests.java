package dev.embedwire;

import com.google.protobuf.ByteString;
import com.google.protobuf.UnsafeByteOperations;
import dev.embedwire.v1.AudioInput;
import dev.embedwire.v1.CreateEmbeddingRequest;
import dev.embedwire.v1.CreateEmbeddingUnaryRequest;
import dev.embedwire.v1.FileSource;
import dev.embedwire.v1.ImageInput;
import dev.embedwire.v1.MediaSource;
import dev.embedwire.v1.TextInput;
import dev.embedwire.v1.UploadSource;
import dev.embedwire.v1.VectorEncoding;
import java.io.IOException;
import java.io.InputStream;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.TreeMap;

/** Inputs to messages: what travels in the request, and what is uploaded. */
final class Requests {
    /** What one message may hold, less room for everything else in it. */
    static final int MESSAGE_BYTES = (16 << 20) - (1 << 20);

    /** Above this, files are uploaded in chunks; the contract recommends it. */
    private static final int INLINE_BYTES = 1 << 20;

    private Requests() {}

    /** A request, and the files that follow it in chunks, by input index. */
    record Plan(CreateEmbeddingRequest request, Map<Integer, Source> uploads) {}

    /** What a call gets whose caller says nothing: the defaults of the contract. */
    static Duration defaultTimeout(List<? extends Input> inputs) {
        return Duration.ofSeconds(inputs.stream().anyMatch(Audio.class::isInstance) ? 600 : 60);
    }

    /** Decides for each file whether it travels in the request. */
    static Plan plan(String model, List<? extends Input> inputs, Options options) throws IOException {
        var request =
                CreateEmbeddingRequest.newBuilder().setModelName(model).setVectorEncoding(encoding(options.encoding()));
        options.maxRetries().ifPresent(request::setMaxRetries);
        Map<Integer, Source> uploads = new TreeMap<>();
        long room = INLINE_BYTES;
        for (int index = 0; index < inputs.size(); index++) {
            Input input = inputs.get(index);
            OptionalLong size = size(input);
            if (size.isPresent() && size.getAsLong() <= room) {
                room -= size.getAsLong();
                request.addInputs(inline(input, size.getAsLong()));
            } else {
                Source source = source(input).orElseThrow();
                uploads.put(index, source);
                request.addInputs(message(input, MediaSource.newBuilder().setUpload(upload(source, size))));
            }
        }
        return new Plan(request.build(), uploads);
    }

    /** Puts everything into one message. */
    static CreateEmbeddingUnaryRequest unary(String model, List<? extends Input> inputs, Options options)
            throws IOException {
        var request = CreateEmbeddingUnaryRequest.newBuilder()
                .setModelName(model)
                .setVectorEncoding(encoding(options.encoding()));
        options.maxRetries().ifPresent(request::setMaxRetries);
        long room = MESSAGE_BYTES;
        for (int index = 0; index < inputs.size(); index++) {
            Input input = inputs.get(index);
            OptionalLong size = size(input);
            if (size.isEmpty() || size.getAsLong() > room) {
                throw new IllegalArgumentException("inputs[" + index + "]: a unary call has room for files of "
                        + MESSAGE_BYTES + " bytes; use embed()");
            }
            room -= size.getAsLong();
            request.addInputs(inline(input, size.getAsLong()));
        }
        return request.build();
    }

    private static VectorEncoding encoding(Options.Encoding chosen) {
        return switch (chosen) {
            case FLOAT32_LE -> VectorEncoding.VECTOR_ENCODING_FLOAT32_LE;
            case FLOAT_VALUES -> VectorEncoding.VECTOR_ENCODING_FLOAT_VALUES;
        };
    }

    private static Optional<Source> source(Input input) {
        if (input instanceof Image image) {
            return Optional.of(image.source());
        }
        return input instanceof Audio audio ? Optional.of(audio.source()) : Optional.empty();
    }

    /** How many bytes of files the input brings; empty if that cannot be known before they are read. */
    private static OptionalLong size(Input input) throws IOException {
        Optional<Source> source = source(input).filter(found -> found.url().isEmpty());
        return source.isEmpty() ? OptionalLong.of(0) : source.get().size();
    }

    private static dev.embedwire.v1.Input inline(Input input, long size) throws IOException {
        if (input instanceof Text text) {
            var value = TextInput.newBuilder().setValue(text.value()).setTruncate(truncate(text.truncate()));
            return dev.embedwire.v1.Input.newBuilder()
                    .setKey(text.key())
                    .setText(value)
                    .build();
        }
        Source source = source(input).orElseThrow();
        if (source.url().isPresent()) {
            return message(input, MediaSource.newBuilder().setUrl(source.url().get()));
        }
        var file = FileSource.newBuilder()
                .setData(whole(source, size))
                .setFileName(source.fileName())
                .setMediaType(source.mediaType());
        return message(input, MediaSource.newBuilder().setFile(file));
    }

    private static ByteString whole(Source source, long size) throws IOException {
        try (InputStream content = source.open()) {
            byte[] data = content.readNBytes(Math.toIntExact(size) + 1);
            if (data.length > size) {
                throw new IOException("the file has grown while it was read");
            }
            return UnsafeByteOperations.unsafeWrap(data);
        }
    }

    private static UploadSource upload(Source source, OptionalLong size) {
        var upload = UploadSource.newBuilder().setFileName(source.fileName()).setMediaType(source.mediaType());
        size.ifPresent(upload::setSizeBytes);
        return upload.build();
    }

    private static dev.embedwire.v1.Input message(Input input, MediaSource.Builder source) {
        var message = dev.embedwire.v1.Input.newBuilder().setKey(input.key());
        if (input instanceof Audio audio) {
            var about = AudioInput.newBuilder().setSource(source);
            audio.startOffsetSec().ifPresent(about::setStartOffsetSec);
            return message.setAudio(about).build();
        }
        return message.setImage(ImageInput.newBuilder().setSource(source)).build();
    }

    private static dev.embedwire.v1.Truncate truncate(Text.Truncate chosen) {
        return switch (chosen) {
            case DEFAULT -> dev.embedwire.v1.Truncate.TRUNCATE_UNSPECIFIED;
            case NONE -> dev.embedwire.v1.Truncate.TRUNCATE_NONE;
            case START -> dev.embedwire.v1.Truncate.TRUNCATE_START;
            case END -> dev.embedwire.v1.Truncate.TRUNCATE_END;
        };
    }
}
