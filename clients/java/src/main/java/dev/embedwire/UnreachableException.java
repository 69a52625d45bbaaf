package dev.embedwire;

/** No server answered, or it is shutting down. */
public final class UnreachableException extends EmbedwireException {
    private static final long serialVersionUID = 1L;

    UnreachableException(Failure failure, String requestId, int attempts) {
        super(failure, requestId, attempts);
    }
}
