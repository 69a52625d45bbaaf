package dev.embedwire;

/**
 * The failure of a call or of an input. The subclass is the party at fault; {@link #failure} has all details.
 *
 * <p>Errors of the client have other classes: an unreadable file is a {@link java.io.UncheckedIOException}, an invalid
 * argument an {@link IllegalArgumentException}, and a call of a closed client an {@link IllegalStateException}.
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

    /** {@return the details of the failure} */
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

    /** {@return the id of the call in the server's log} */
    public String requestId() {
        return requestId;
    }

    /** {@return the identifier of the upstream's task; see {@link Failure#upstreamTaskId}} */
    public String upstreamTaskId() {
        return failure.upstreamTaskId();
    }

    /** Returns this exception with the identifier of a task, unless it has one. */
    EmbedwireException withTask(String task) {
        Failure found = failure.withTask(task);
        return found == failure ? this : found.exception(requestId, attempts);
    }

    /** {@return the number of upstream requests for the input; 0 if none or unknown} */
    public int attempts() {
        return attempts;
    }
}
