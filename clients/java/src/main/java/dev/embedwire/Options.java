package dev.embedwire;

import static java.util.Objects.requireNonNull;

import dev.embedwire.v1.VectorEncoding;
import java.time.Duration;
import java.util.Optional;
import java.util.OptionalInt;

/** The options of a single call. Each is optional. */
public final class Options {
    /** All options at their defaults. */
    public static final Options DEFAULT = builder().build();

    private final Builder chosen;

    private Options(Builder chosen) {
        this.chosen = chosen;
    }

    /** How vectors are sent. The values are the same. */
    public enum Encoding {
        /** As packed bytes, which take the least time to read. */
        FLOAT32_LE(VectorEncoding.VECTOR_ENCODING_FLOAT32_LE),
        /** As numbers of protobuf, which every server has. */
        FLOAT_VALUES(VectorEncoding.VECTOR_ENCODING_FLOAT_VALUES);

        private final VectorEncoding message;

        Encoding(VectorEncoding message) {
            this.message = message;
        }

        VectorEncoding toProto() {
            return message;
        }
    }

    /** {@return a builder with all options at their defaults} */
    public static Builder builder() {
        return new Builder();
    }

    /** {@return a builder with these options} */
    public Builder toBuilder() {
        return new Builder(chosen);
    }

    /** {@return the deadline; see {@link Builder#timeout}} */
    public Optional<Duration> timeout() {
        return chosen.timeout;
    }

    /** {@return the limit of retries; see {@link Builder#maxRetries}} */
    public OptionalInt maxRetries() {
        return chosen.maxRetries;
    }

    /** {@return the id; see {@link Builder#requestId}} */
    public Optional<String> requestId() {
        return chosen.requestId;
    }

    /** {@return the size of chunks; see {@link Builder#chunkBytes}} */
    public int chunkBytes() {
        return chosen.chunkBytes;
    }

    /** {@return the encoding of vectors; see {@link Builder#encoding}} */
    public Encoding encoding() {
        return chosen.encoding;
    }

    /** Collects options. */
    public static final class Builder {
        private Optional<Duration> timeout = Optional.empty();
        private OptionalInt maxRetries = OptionalInt.empty();
        private Optional<String> requestId = Optional.empty();
        private int chunkBytes = 256 << 10;
        private Encoding encoding = Encoding.FLOAT32_LE;

        private Builder() {}

        private Builder(Builder other) {
            timeout = other.timeout;
            maxRetries = other.maxRetries;
            requestId = other.requestId;
            chunkBytes = other.chunkBytes;
            encoding = other.encoding;
        }

        /**
         * Sets the deadline for everything: queueing, uploads, every attempt and the reply.
         *
         * @param timeout from the start of the call to its end; by default that of the client, and without one 60 s, or
         *     600 s if any input is audio
         * @return this
         */
        public Builder timeout(Duration timeout) {
            this.timeout = Optional.of(timeout);
            return this;
        }

        /**
         * Limits the upstream attempts that may follow a failed first one, for each input. An attempt may be billed.
         *
         * @param maxRetries 0 forbids retries; by default the server decides
         * @return this
         */
        public Builder maxRetries(int maxRetries) {
            this.maxRetries = OptionalInt.of(maxRetries);
            return this;
        }

        /**
         * Sets the id of the call, for the server's log.
         *
         * @param requestId 1 to 64 letters, digits and {@code -_.:}; by default a new one
         * @return this
         */
        public Builder requestId(String requestId) {
            this.requestId = Optional.of(requestId);
            return this;
        }

        /**
         * Sets the size of the chunks in which files are uploaded.
         *
         * @param chunkBytes 1 to 15 MiB; 256 KiB by default
         * @return this
         */
        public Builder chunkBytes(int chunkBytes) {
            this.chunkBytes = chunkBytes;
            return this;
        }

        /**
         * Sets how vectors are sent.
         *
         * @param encoding by default packed
         * @return this
         */
        public Builder encoding(Encoding encoding) {
            this.encoding = requireNonNull(encoding, "encoding");
            return this;
        }

        /**
         * Makes the options.
         *
         * @return the options
         * @throws IllegalArgumentException an option is invalid; the message says why
         */
        public Options build() {
            Checks.timeout("timeout", timeout);
            if (maxRetries.isPresent()) {
                Checks.range("maxRetries", maxRetries.getAsInt(), 0, Integer.MAX_VALUE);
            }
            if (requestId.isPresent() && !requestId.get().matches("[A-Za-z0-9_.:-]{1,64}")) {
                throw new IllegalArgumentException("requestId: must have 1 to 64 letters, digits and -_.: only");
            }
            Checks.range("chunkBytes", chunkBytes, 1, Request.MESSAGE_BYTES);
            return new Options(new Builder(this));
        }
    }
}
