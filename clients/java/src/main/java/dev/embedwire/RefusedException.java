package dev.embedwire;

/** A policy of the server rejected the call or the input, for instance a limit. Try again later. */
public final class RefusedException extends EmbedwireException {
    private static final long serialVersionUID = 1L;

    RefusedException(Failure failure, String requestId, int attempts) {
        super(failure, requestId, attempts);
    }
}
