package dev.embedwire;

/**
 * The call was ended by gRPC itself, or by a proxy or load balancer between, and not by the server. It has a code and
 * no reason. The server may or may not have worked on the call.
 */
public final class TransportException extends EmbedwireException {
    private static final long serialVersionUID = 1L;

    TransportException(Failure failure, String requestId, int attempts) {
        super(failure, requestId, attempts);
    }
}
