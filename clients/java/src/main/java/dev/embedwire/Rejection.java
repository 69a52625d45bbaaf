package dev.embedwire;

import dev.embedwire.v1.ErrorReason;
import dev.embedwire.v1.Failure;
import java.util.concurrent.TimeUnit;

/**
 * That the server rejected inputs of a call for a reason that passes, so that they are sent again.
 *
 * @param isOverload whether the server had no capacity for them
 * @param isPause whether it asks for a pause: a rate limit is reached, or it shuts down
 * @param delay for how long, in nanoseconds; 0 if it does not say
 */
record Rejection(boolean isOverload, boolean isPause, long delay) {
    /** What a server asks for beyond that is a mistake. */
    private static final long LONGEST = TimeUnit.DAYS.toNanos(1);

    static final Rejection NONE = new Rejection(false, false, 0);

    /** Whether a failure is a rejection. A rate limit without a delay is one that the inputs alone exceed. */
    static boolean isOne(Failure failure) {
        return switch (failure.getReason()) {
            case ERROR_REASON_OVERLOADED, ERROR_REASON_DRAINING -> true;
            case ERROR_REASON_RATE_LIMITED -> failure.hasRetryDelay();
            default -> false;
        };
    }

    /** Both rejections together. */
    Rejection and(Failure failure) {
        boolean isOverloaded = failure.getReason() == ErrorReason.ERROR_REASON_OVERLOADED;
        long asked = TimeUnit.NANOSECONDS.convert(dev.embedwire.Failure.duration(failure.getRetryDelay()));
        return new Rejection(
                isOverload || isOverloaded, isPause || !isOverloaded, Math.max(delay, Math.min(asked, LONGEST)));
    }
}
