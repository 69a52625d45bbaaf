package dev.embedwire;

/**
 * A call or an input failed. The class says which side can fix it, {@link #failure} has all the facts.
 *
 * <p>The client's own errors are others: a file that cannot be read is a {@link java.io.UncheckedIOException}, an
 * invalid argument an {@link IllegalArgumentException}, and a call of a closed client an {@link IllegalStateException}.
 */
public abstract class EmbedwireException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final Failure failure;
    private final String requestId;
    private final int attempts;

    EmbedwireException(Failure failure, String requestId, int attempts) {
        super((failure.reason().isEmpty() ? failure.code() : failure.reason()) + ": " + failure.message()
                + (requestId.isEmpty() ? "" : " (request id " + requestId + ")"));
        this.failure = failure;
        this.requestId = requestId;
        this.attempts = attempts;
    }

    /** {@return what failed, and why} */
    public Failure failure() {
        return failure;
    }

    /** {@return the name of the gRPC status code, for instance "INVALID_ARGUMENT"} */
    public String code() {
        return failure.code();
    }

    /** {@return the reason, for instance "INPUT_REJECTED"; empty if gRPC or an intermediary ended the call} */
    public String reason() {
        return failure.reason();
    }

    /** {@return the id of the call; the server's log has the details under it} */
    public String requestId() {
        return requestId;
    }

    /** {@return how many upstream requests were made for the input; 0 if none, or if that is not known} */
    public int attempts() {
        return attempts;
    }
}
