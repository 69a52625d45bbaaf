package dev.embedwire;

/** The caller can mend it: the request, its files, its credentials, its deadline. */
public sealed class RequestException extends EmbedwireException permits DeadlineExceededException {
    private static final long serialVersionUID = 1L;

    RequestException(Failure failure, String requestId, int attempts) {
        super(failure, requestId, attempts);
    }
}
