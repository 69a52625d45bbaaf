package dev.embedwire;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.embedwire.v1.ErrorReason;
import dev.embedwire.v1.Failure;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** How a run reacts to rejections. Times are given, so nothing waits. */
class PacingTest {
    private static final long MS = TimeUnit.MILLISECONDS.toNanos(1);
    private static final Rejection OVERLOAD = new Rejection(true, false, 0);
    private static final Rejection RATE_LIMIT = new Rejection(false, true, 300 * MS);

    /** Overload lowers the number of calls to those that run; each completed call adds 1/number, up to the option. */
    @Test
    void overload() {
        var pacing = pacing(MapOptions.builder().concurrentCalls(8));
        assertTrue(pacing.hasPlace(7));
        pacing.ended(OVERLOAD, 0, 2, 0);
        assertTrue(pacing.hasPlace(1));
        assertFalse(pacing.hasPlace(2));
        assertEquals(0, pacing.pausedUntil()); // the end of a running call frees a place
        pacing.ended(Rejection.NONE, 0, 1, 0);
        assertFalse(pacing.hasPlace(2)); // 2.5
        pacing.ended(Rejection.NONE, 0, 1, 0);
        pacing.ended(Rejection.NONE, 0, 1, 0);
        assertTrue(pacing.hasPlace(2)); // 3.3
        for (int ended = 0; ended < 100; ended++) {
            pacing.ended(Rejection.NONE, 0, 1, 0);
        }
        assertTrue(pacing.hasPlace(7));
        assertFalse(pacing.hasPlace(8));
    }

    /** Overload of the only call is waited for, by a back-off that doubles once for calls of one time, and is reset. */
    @Test
    void backOff() {
        var pacing = pacing(MapOptions.builder());
        pacing.ended(OVERLOAD, 0, 0, 10 * MS);
        assertBetween(10 + 50, 10 + 100, pacing);
        pacing.ended(OVERLOAD, 5 * MS, 0, 120 * MS); // sent before the back-off
        assertBetween(120 + 50, 120 + 100, pacing);
        pacing.ended(OVERLOAD, 200 * MS, 0, 300 * MS);
        assertBetween(300 + 100, 300 + 200, pacing);
        for (long now = 1_000; now < 200_000; now += 10_000) {
            pacing.ended(OVERLOAD, now * MS, 0, now * MS);
            assertTrue(pacing.pausedUntil() <= (now + 5_000) * MS);
        }
        pacing.ended(Rejection.NONE, 0, 0, 300_000 * MS);
        pacing.ended(OVERLOAD, 300_000 * MS, 0, 300_000 * MS);
        assertBetween(300_000 + 50, 300_000 + 100, pacing);
    }

    /** A rate limit pauses the run for as long as the server asks, whatever is running. */
    @Test
    void rateLimit() {
        var pacing = pacing(MapOptions.builder());
        pacing.ended(RATE_LIMIT, 0, 5, 10 * MS);
        assertEquals(310 * MS, pacing.pausedUntil());
        assertTrue(pacing.hasPlace(7));
    }

    /** Pauses are added to the timeout of the run, each moment once; unless waits count. */
    @Test
    void runEnd() {
        var options = MapOptions.builder().runTimeout(Duration.ofSeconds(1));
        var pacing = pacing(options);
        pacing.ended(RATE_LIMIT, 0, 5, 10 * MS);
        pacing.ended(RATE_LIMIT, 0, 5, 110 * MS);
        assertEquals(1_400 * MS, pacing.runEnd());
        var counting = pacing(options.countWaits(true));
        counting.ended(RATE_LIMIT, 0, 5, 10 * MS);
        assertEquals(1_000 * MS, counting.runEnd());
    }

    /** Rejections of one call count together, with the longest delay; one beyond all bounds is a week. */
    @Test
    void rejections() {
        var overload = Failure.newBuilder().setReason(ErrorReason.ERROR_REASON_OVERLOADED);
        var draining = Failure.newBuilder().setReason(ErrorReason.ERROR_REASON_DRAINING);
        draining.getRetryDelayBuilder().setSeconds(2);
        assertEquals(
                new Rejection(true, true, 2_000 * MS),
                Rejection.NONE.and(overload.build()).and(draining.build()));
        overload.getRetryDelayBuilder().setSeconds(315_576_000_000L);
        assertEquals(
                TimeUnit.DAYS.toNanos(7), Rejection.NONE.and(overload.build()).delay());
        var rateLimit = Failure.newBuilder().setReason(ErrorReason.ERROR_REASON_RATE_LIMITED);
        assertFalse(Rejection.isOne(rateLimit.build())); // waiting does not help
        rateLimit.getRetryDelayBuilder().setNanos(0);
        assertTrue(Rejection.isOne(rateLimit.build()));
    }

    private static Pacing pacing(MapOptions.Builder options) {
        return new Pacing(options.build());
    }

    private static void assertBetween(long least, long most, Pacing pacing) {
        long found = pacing.pausedUntil();
        assertTrue(least * MS <= found && found <= most * MS, found / MS + " ms");
    }
}
