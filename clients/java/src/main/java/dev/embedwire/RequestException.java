package dev.embedwire;

/** The caller can fix it: the request, its files, its credentials or its deadline. */
public class RequestException extends EmbedwireException {
    private static final long serialVersionUID = 1L;

    RequestException(Failure failure, String requestId, int attempts) {
        super(failure, requestId, attempts);
    }
}
