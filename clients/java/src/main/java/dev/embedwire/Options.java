package dev.embedwire;

import static java.util.Objects.requireNonNull;

import dev.embedwire.v1.VectorEncoding;
import java.time.Duration;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.Consumer;

/** The options of a single call. Each is optional. */
public final class Options {
    /** All options at their defaults. */
    public static final Options DEFAULT = builder().build();

    final Optional<Duration> timeout;
    final OptionalInt maxRetries;
    final Optional<String> requestId;
    final int chunkBytes;
    final VectorEncoding encoding;
    final OptionalInt dimensions;
    final boolean includeUncertainty;
    final Optional<Consumer<? super Progress>> onProgress;

    private Options(Builder chosen) {
        timeout = chosen.timeout;
        maxRetries = chosen.maxRetries;
        requestId = chosen.requestId;
        chunkBytes = chosen.chunkBytes;
        encoding = chosen.encoding;
        dimensions = chosen.dimensions;
        includeUncertainty = chosen.includeUncertainty;
        onProgress = chosen.onProgress;
    }

    /** {@return a builder with all options at their defaults} */
    public static Builder builder() {
        return new Builder();
    }

    /** A builder of options. */
    public static final class Builder {
        private Optional<Duration> timeout = Optional.empty();
        private OptionalInt maxRetries = OptionalInt.empty();
        private Optional<String> requestId = Optional.empty();
        private int chunkBytes = 256 << 10;
        private VectorEncoding encoding = VectorEncoding.VECTOR_ENCODING_FLOAT32_LE;
        private OptionalInt dimensions = OptionalInt.empty();
        private boolean includeUncertainty;
        private Optional<Consumer<? super Progress>> onProgress = Optional.empty();

        private Builder() {}

        /**
         * Sets the deadline, which covers queueing, uploads, all attempts and the response. By default it is that of
         * the client. If that has none, it depends on the inputs: 60 s; 600 s if any input is audio and all audio has
         * {@code PROCESSING_MODE_SYNC}; and 3,600 s with other audio, which the upstream may process as a task.
         */
        public Builder timeout(Duration timeout) {
            this.timeout = Optional.of(timeout);
            return this;
        }

        /**
         * Sets the maximum number of upstream retries for each input; 0 forbids retries, and by default the server
         * decides. The upstream may bill each attempt.
         */
        public Builder maxRetries(int maxRetries) {
            this.maxRetries = OptionalInt.of(maxRetries);
            return this;
        }

        /** Sets the request id for the server's log: 1 to 64 letters, digits and {@code -_.:}; by default a new id. */
        public Builder requestId(String requestId) {
            this.requestId = Optional.of(requestId);
            return this;
        }

        /** Sets the size of upload chunks in bytes, 1 to 15 MiB; 256 KiB by default. */
        public Builder chunkBytes(int chunkBytes) {
            this.chunkBytes = chunkBytes;
            return this;
        }

        /**
         * Sets the encoding of vectors in responses; the values are the same. The default is packed float32, the
         * fastest.
         */
        public Builder encoding(VectorEncoding encoding) {
            this.encoding = requireNonNull(encoding, "encoding");
            return this;
        }

        /**
         * Sets the number of values of each vector, one of {@code supported_dimensions} of the model; by default its
         * {@code dimensions}.
         */
        public Builder dimensions(int dimensions) {
            this.dimensions = OptionalInt.of(dimensions);
            return this;
        }

        /**
         * Sets whether segments have an {@link Segment#uncertainty}, which a model with {@code supports_uncertainty}
         * returns; false by default.
         */
        public Builder includeUncertainty(boolean includeUncertainty) {
            this.includeUncertainty = includeUncertainty;
            return this;
        }

        /**
         * Sets a function for the {@link Progress} of the inputs of {@code embed}, {@code embedAsync} and {@code map},
         * before the embedding of each input; by default none. {@code stream} and {@code publish} give progress as
         * events instead.
         *
         * <p>Threads of gRPC call it, in {@code map} concurrently for different calls, and with the position of the
         * input in the iterator. The call waits for it. An exception of the function ends the call or the run, and is
         * thrown there.
         */
        public Builder onProgress(Consumer<? super Progress> onProgress) {
            this.onProgress = Optional.of(onProgress);
            return this;
        }

        /**
         * Returns the options.
         *
         * @throws IllegalArgumentException an option is invalid
         */
        public Options build() {
            Checks.timeout("timeout", timeout);
            if (maxRetries.isPresent()) {
                Checks.range("maxRetries", maxRetries.getAsInt(), 0, Integer.MAX_VALUE);
            }
            if (requestId.isPresent() && !requestId.get().matches("[A-Za-z0-9_.:-]{1,64}")) {
                throw new IllegalArgumentException("requestId: must have 1 to 64 letters, digits and -_.: only");
            }
            if (dimensions.isPresent()) {
                Checks.range("dimensions", dimensions.getAsInt(), 1, Integer.MAX_VALUE);
            }
            Checks.range("chunkBytes", chunkBytes, 1, Request.MESSAGE_BYTES);
            return new Options(this);
        }
    }
}
