package dev.embedwire;

/**
 * gRPC, a proxy or a load balancer ended the call, for instance because no server responded. The reason is empty. The
 * server may or may not have worked on the call.
 */
public final class TransportException extends EmbedwireException {
    private static final long serialVersionUID = 1L;

    TransportException(Failure failure, String requestId, int attempts) {
        super(failure, requestId, attempts);
    }
}
