package dev.embedwire;

import static java.util.Objects.requireNonNull;

import java.time.Duration;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * What a single call may choose, from {@link #DEFAULT} on.
 *
 * @param timeout the deadline for everything: queueing, uploads, every attempt, the reply; empty is that of the client,
 *     and if that has none, 60 s, or 600 s if any input is audio
 * @param maxRetries the most upstream attempts that may follow a failed first one, for each input; 0 forbids retries,
 *     empty leaves it to the server; an attempt may be billed
 * @param requestId an id for the server's log and metadata; empty is a new one
 * @param chunkBytes size of the chunks in which files are uploaded
 * @param encoding how vectors travel; the values are the same
 */
public record Options(
        Optional<Duration> timeout,
        OptionalInt maxRetries,
        Optional<String> requestId,
        int chunkBytes,
        Encoding encoding) {
    /** How vectors travel. */
    public enum Encoding {
        /** Packed, which is the cheapest to read. */
        FLOAT32_LE,
        /** As numbers of protobuf, as every server has them. */
        FLOAT_VALUES
    }

    /** Nothing chosen. */
    public static final Options DEFAULT =
            new Options(Optional.empty(), OptionalInt.empty(), Optional.empty(), 256 << 10, Encoding.FLOAT32_LE);

    /**
     * Checks what is chosen.
     *
     * @param timeout see above
     * @param maxRetries see above
     * @param requestId see above
     * @param chunkBytes see above
     * @param encoding see above
     * @throws IllegalArgumentException a choice cannot be meant; the message says why
     */
    public Options {
        Connection.checkTimeout(timeout);
        if (maxRetries.isPresent() && maxRetries.getAsInt() < 0) {
            throw new IllegalArgumentException("maxRetries: must be 0 or more, got " + maxRetries.getAsInt());
        }
        if (requestId.isPresent() && !requestId.get().matches("[A-Za-z0-9_.:-]{1,64}")) {
            throw new IllegalArgumentException("requestId: must have 1 to 64 letters, digits and -_.: only");
        }
        if (chunkBytes < 1 || chunkBytes > Requests.MESSAGE_BYTES) {
            throw new IllegalArgumentException(
                    "chunkBytes: must be 1 to " + Requests.MESSAGE_BYTES + ", got " + chunkBytes);
        }
        requireNonNull(encoding, "encoding");
    }

    /**
     * The same with a deadline.
     *
     * @param timeout from the start of the call
     * @return the options
     */
    public Options withTimeout(Duration timeout) {
        return new Options(Optional.of(timeout), maxRetries, requestId, chunkBytes, encoding);
    }

    /**
     * The same with a limit of retries.
     *
     * @param maxRetries 0 forbids them
     * @return the options
     */
    public Options withMaxRetries(int maxRetries) {
        return new Options(timeout, OptionalInt.of(maxRetries), requestId, chunkBytes, encoding);
    }

    /**
     * The same with an id.
     *
     * @param requestId 1 to 64 letters, digits and {@code -_.:}
     * @return the options
     */
    public Options withRequestId(String requestId) {
        return new Options(timeout, maxRetries, Optional.of(requestId), chunkBytes, encoding);
    }

    /**
     * The same with another size of chunks.
     *
     * @param chunkBytes at most 15 MiB
     * @return the options
     */
    public Options withChunkBytes(int chunkBytes) {
        return new Options(timeout, maxRetries, requestId, chunkBytes, encoding);
    }

    /**
     * The same with another encoding of vectors.
     *
     * @param encoding how they travel
     * @return the options
     */
    public Options withEncoding(Encoding encoding) {
        return new Options(timeout, maxRetries, requestId, chunkBytes, encoding);
    }
}
