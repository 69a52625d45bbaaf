package dev.embedwire;

/** The upstream failed, or rejected the server. */
public final class UpstreamException extends EmbedwireException {
    private static final long serialVersionUID = 1L;

    UpstreamException(Failure failure, String requestId, int attempts) {
        super(failure, requestId, attempts);
    }
}
