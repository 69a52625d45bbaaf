package dev.embedwire;

/** The server failed. */
public final class GatewayException extends EmbedwireException {
    private static final long serialVersionUID = 1L;

    GatewayException(Failure failure, String requestId, int attempts) {
        super(failure, requestId, attempts);
    }
}
