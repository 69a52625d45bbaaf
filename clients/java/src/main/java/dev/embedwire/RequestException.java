package dev.embedwire;

/** The request, a file, a credential or the deadline is at fault. Correct it. */
public class RequestException extends EmbedwireException {
    private static final long serialVersionUID = 1L;

    RequestException(Failure failure, String requestId, int attempts) {
        super(failure, requestId, attempts);
    }
}
