package dev.embedwire;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Duration;
import dev.embedwire.v1.ErrorReason;
import dev.embedwire.v1.Failure;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** How a run reacts to rejections. Times are given, so nothing waits. */
class PacingTest {
    private static final long MS = TimeUnit.MILLISECONDS.toNanos(1);
    private static final Rejection OVERLOAD = new Rejection(true, false, 0);
    private static final Rejection RATE_LIMIT = new Rejection(false, true, 300 * MS);

    /** Overload lowers the number of calls to those that run; each completed call adds 1/number, up to the option. */
    @Test
    void overload() {
        var pacing = pacing(MapOptions.builder().concurrentCalls(8));
        assertTrue(pacing.hasPlace(7, 0));
        pacing.rejected(OVERLOAD, 0, 2, 0);
        assertTrue(pacing.hasPlace(1, 0));
        assertFalse(pacing.hasPlace(2, 0));
        assertEquals(0, pacing.pausedUntil()); // the end of a running call frees a place
        pacing.succeeded();
        assertFalse(pacing.hasPlace(2, 0)); // 2.5
        pacing.succeeded();
        pacing.succeeded();
        assertTrue(pacing.hasPlace(2, 0)); // 3.3
        for (int ended = 0; ended < 100; ended++) {
            pacing.succeeded();
        }
        assertTrue(pacing.hasPlace(7, 0));
        assertFalse(pacing.hasPlace(8, 0));
    }

    /** Overload of the only call is waited for, by a back-off that doubles once for calls of one time, and is reset. */
    @Test
    void backOff() {
        var pacing = pacing(MapOptions.builder());
        pacing.rejected(OVERLOAD, 0, 0, 10 * MS);
        assertBetween(10 + 50, 10 + 100, pacing);
        pacing.rejected(OVERLOAD, 5 * MS, 0, 120 * MS); // sent before the back-off
        assertBetween(120 + 50, 120 + 100, pacing);
        pacing.rejected(OVERLOAD, 200 * MS, 0, 300 * MS);
        assertBetween(300 + 100, 300 + 200, pacing);
        for (long now = 1_000; now < 200_000; now += 10_000) {
            pacing.rejected(OVERLOAD, now * MS, 0, now * MS);
            assertTrue(pacing.pausedUntil() <= (now + 5_000) * MS);
        }
        pacing.succeeded();
        pacing.rejected(OVERLOAD, 300_000 * MS, 0, 300_000 * MS);
        assertBetween(300_000 + 50, 300_000 + 100, pacing);
    }

    /** Rejected inputs wait for the end of a running call no longer than the delay; then one more call is allowed. */
    @Test
    void probe() {
        var pacing = pacing(MapOptions.builder().concurrentCalls(4));
        pacing.rejected(new Rejection(true, false, 50 * MS), 0, 2, 10 * MS);
        assertEquals(60 * MS, pacing.placeAt(2));
        assertFalse(pacing.hasPlace(2, 59 * MS));
        assertTrue(pacing.hasPlace(2, 60 * MS));
        assertFalse(pacing.hasPlace(3, 109 * MS));
        assertTrue(pacing.hasPlace(3, 110 * MS));
        assertFalse(pacing.hasPlace(4, 1_000 * MS)); // the option
        assertEquals(MapRun.NEVER, pacing.placeAt(4));
    }

    /** After a pause one call is sent, and the next after the delay. */
    @Test
    void probeAfterPause() {
        var pacing = pacing(MapOptions.builder());
        pacing.rejected(new Rejection(true, false, 50 * MS), 0, 0, 10 * MS);
        assertEquals(60 * MS, pacing.placeAt(0));
        assertFalse(pacing.hasPlace(1, 60 * MS));
        assertEquals(110 * MS, pacing.placeAt(1));
    }

    /** A delay is at most one day and never negative, whatever the server asks for. */
    @ParameterizedTest
    @CsvSource({"315576000000, 86400000", "86401, 86400000", "1, 1000", "0, 0", "-1, 0", "-315576000000, 0"})
    void hints(long seconds, long milliseconds) {
        var failure = Failure.newBuilder()
                .setReason(ErrorReason.ERROR_REASON_OVERLOADED)
                .setRetryDelay(Duration.newBuilder().setSeconds(seconds));
        assertEquals(milliseconds * MS, Rejection.NONE.and(failure.build()).delay());
    }

    /** The timeout of a run may be longer than that of a call, and longer than its nanoseconds can be counted. */
    @Test
    void longRuns() {
        var days = java.time.Duration.ofDays(30);
        assertEquals(
                days.toNanos(), pacing(MapOptions.builder().runTimeout(days)).runEnd());
        var endless = MapOptions.builder().runTimeout(java.time.Duration.ofSeconds(Long.MAX_VALUE));
        assertEquals(MapRun.NEVER, pacing(endless).runEnd());
    }

    /** A rate limit pauses the run for as long as the server asks, whatever is running. */
    @Test
    void rateLimit() {
        var pacing = pacing(MapOptions.builder());
        pacing.rejected(RATE_LIMIT, 0, 5, 10 * MS);
        assertEquals(310 * MS, pacing.pausedUntil());
        assertTrue(pacing.hasPlace(7, 0));
    }

    /** Pauses are added to the timeout of the run, each moment once; unless waits count. */
    @Test
    void runEnd() {
        var options = MapOptions.builder().runTimeout(java.time.Duration.ofSeconds(1));
        var pacing = pacing(options);
        pacing.rejected(RATE_LIMIT, 0, 5, 10 * MS);
        pacing.rejected(RATE_LIMIT, 0, 5, 110 * MS);
        assertEquals(1_400 * MS, pacing.runEnd());
        var counting = pacing(options.countWaits(true));
        counting.rejected(RATE_LIMIT, 0, 5, 10 * MS);
        assertEquals(1_000 * MS, counting.runEnd());
    }

    /** Rejections of one call count together, with the longest delay. */
    @Test
    void rejections() {
        var overload = Failure.newBuilder().setReason(ErrorReason.ERROR_REASON_OVERLOADED);
        var draining = Failure.newBuilder().setReason(ErrorReason.ERROR_REASON_DRAINING);
        draining.getRetryDelayBuilder().setSeconds(2);
        assertEquals(
                new Rejection(true, true, 2_000 * MS),
                Rejection.NONE.and(overload.build()).and(draining.build()));
        var rateLimit = Failure.newBuilder().setReason(ErrorReason.ERROR_REASON_RATE_LIMITED);
        assertFalse(Rejection.isOne(rateLimit.build())); // waiting does not help
        rateLimit.getRetryDelayBuilder().setNanos(0);
        assertTrue(Rejection.isOne(rateLimit.build()));
    }

    /** The reasons of a failed call that do not say that the server has worked on it. */
    @Test
    void notAnswered() {
        assertEquals(
                "UNSPECIFIED DEADLINE_EXCEEDED CANCELLED OVERLOADED RATE_LIMITED DRAINING",
                Stream.of(ErrorReason.values())
                        .filter(reason -> !BatchCall.isAnswered(reason))
                        .map(reason -> reason.name().substring("ERROR_REASON_".length()))
                        .collect(Collectors.joining(" ")));
    }

    private static Pacing pacing(MapOptions.Builder options) {
        return new Pacing(options.build());
    }

    private static void assertBetween(long least, long most, Pacing pacing) {
        long found = pacing.pausedUntil();
        assertTrue(least * MS <= found && found <= most * MS, found / MS + " ms");
    }
}
