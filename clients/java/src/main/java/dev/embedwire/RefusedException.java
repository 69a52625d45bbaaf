package dev.embedwire;

/** A policy of the server refused the call or the input; later, or elsewhere, it may work. */
public final class RefusedException extends EmbedwireException {
    private static final long serialVersionUID = 1L;

    RefusedException(Failure failure, String requestId, int attempts) {
        super(failure, requestId, attempts);
    }
}
