package dev.embedwire;

/** The server failed, or sent an invalid response. */
public final class GatewayException extends EmbedwireException {
    private static final long serialVersionUID = 1L;

    GatewayException(Failure failure, String requestId, int attempts) {
        super(failure, requestId, attempts);
    }
}
