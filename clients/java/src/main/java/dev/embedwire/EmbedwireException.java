package dev.embedwire;

/**
 * A call or an input failed. The class says whose fault it was, {@link #failure} has all the facts.
 *
 * <p>A path that cannot be read is a {@link java.io.UncheckedIOException}, and an argument that cannot be meant an
 * {@link IllegalArgumentException}: those are the client's own.
 */
public abstract sealed class EmbedwireException extends RuntimeException
        permits RequestException, RefusedException, UpstreamException, GatewayException, UnreachableException {
    private static final long serialVersionUID = 1L;

    private final transient Failure failure;
    private final String requestId;
    private final int attempts;

    EmbedwireException(Failure failure, String requestId, int attempts) {
        super((failure.reason().isEmpty() ? failure.code() : failure.reason()) + ": " + failure.message()
                + (requestId.isEmpty() ? "" : " (request id " + requestId + ")"));
        this.failure = failure;
        this.requestId = requestId;
        this.attempts = attempts;
    }

    /**
     * All the facts.
     *
     * @return what failed, and why
     */
    public Failure failure() {
        return failure;
    }

    /**
     * Name of the gRPC status code.
     *
     * @return for instance "INVALID_ARGUMENT"
     */
    public String code() {
        return failure.code();
    }

    /**
     * The reason, from the closed list of the contract.
     *
     * @return for instance "INPUT_REJECTED"; empty where gRPC itself ended the call
     */
    public String reason() {
        return failure.reason();
    }

    /**
     * The id of the call, under which the server's log has the details.
     *
     * @return as it was chosen, or made by the client
     */
    public String requestId() {
        return requestId;
    }

    /**
     * How many upstream requests were made for the input.
     *
     * @return 0 if none was, or if it is not known
     */
    public int attempts() {
        return attempts;
    }
}
