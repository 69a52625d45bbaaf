package dev.embedwire;

import dev.embedwire.v1.ErrorReason;
import dev.embedwire.v1.Failure;
import java.util.concurrent.TimeUnit;

/**
 * A rejection of inputs for a temporary reason, so that they are sent again.
 *
 * @param isOverload whether the server is overloaded
 * @param isPause whether all sending pauses: a rate limit is reached, or the server drains
 * @param delay retry delay in nanoseconds; 0 if the server sent none
 */
record Rejection(boolean isOverload, boolean isPause, long delay) {
    /** A longer delay is a mistake of the server. */
    private static final long LONGEST = TimeUnit.DAYS.toNanos(1);

    static final Rejection NONE = new Rejection(false, false, 0);

    /** Returns whether a failure is a rejection. A rate limit without a delay is exceeded by the inputs alone. */
    static boolean isOne(Failure failure) {
        return switch (failure.getReason()) {
            case ERROR_REASON_OVERLOADED, ERROR_REASON_DRAINING -> true;
            case ERROR_REASON_RATE_LIMITED -> failure.hasRetryDelay();
            default -> false;
        };
    }

    /** Combines this rejection with another failure. */
    Rejection and(Failure failure) {
        boolean isOverloaded = failure.getReason() == ErrorReason.ERROR_REASON_OVERLOADED;
        long asked = TimeUnit.NANOSECONDS.convert(dev.embedwire.Failure.duration(failure.getRetryDelay()));
        return new Rejection(
                isOverload || isOverloaded, isPause || !isOverloaded, Math.max(delay, Math.min(asked, LONGEST)));
    }
}
