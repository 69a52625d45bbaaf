package dev.embedwire;

/** The deadline of the call passed. Inputs without a result are unanswered. */
public final class DeadlineExceededException extends RequestException {
    private static final long serialVersionUID = 1L;

    DeadlineExceededException(Failure failure, String requestId, int attempts) {
        super(failure, requestId, attempts);
    }
}
