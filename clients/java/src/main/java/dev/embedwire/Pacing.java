package dev.embedwire;

import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/**
 * Adaptive concurrency of a run, and its pauses (additive increase, multiplicative decrease). Overload lowers the limit
 * to the calls that the server has accepted; each call that the server worked on raises it. Since a call may take long,
 * one call above the running ones is allowed each time the delay of the last overload has passed. All times are
 * nanoseconds of the run.
 */
final class Pacing {
    private static final long FIRST_BACK_OFF = TimeUnit.MILLISECONDS.toNanos(100);
    private static final long LONGEST_BACK_OFF = TimeUnit.SECONDS.toNanos(5);

    private final int mostCalls;
    private final boolean countsWaits;
    private double calls;
    private long pausedUntil;
    private long runEnd;
    private long backOff;
    private long backedOffAt;
    private long probeDelay;
    private long probeAt = MapRun.NEVER;

    Pacing(MapOptions options) {
        mostCalls = options.concurrentCalls;
        calls = mostCalls;
        countsWaits = options.countWaits;
        runEnd = options.runTimeout.map(TimeUnit.NANOSECONDS::convert).orElse(MapRun.NEVER);
    }

    boolean hasPlace(int running, long now) {
        if (running >= (int) calls && now >= probeAt) {
            calls = Math.min(mostCalls, running + 1);
            probeAt = now + probeDelay;
        }
        return running < (int) calls;
    }

    /** Returns when the next call may be sent, if none ends before. */
    long placeAt(int running) {
        if (running < (int) calls) {
            return pausedUntil;
        }
        return running < mostCalls ? Math.max(probeAt, pausedUntil) : MapRun.NEVER;
    }

    /** Returns the end of the current pause. */
    long pausedUntil() {
        return pausedUntil;
    }

    /** Returns the deadline of the run. */
    long runEnd() {
        return runEnd;
    }

    /** Records a call that the server worked on, successfully or not. */
    void succeeded() {
        calls = Math.min(mostCalls, calls + 1 / calls);
        backOff = 0;
    }

    /** Records the rejection of a call that was sent at {@code sentAt}, while {@code running} others are running. */
    void rejected(Rejection rejection, long sentAt, int running, long now) {
        long delay = rejection.delay() > 0 ? rejection.delay() : nextBackOff(sentAt, now);
        if (rejection.isPause() || running == 0) { // else the end of a running call frees a place
            pause(now + delay, now);
        }
        if (rejection.isOverload()) {
            calls = Math.min(calls, Math.max(1, running));
            probeDelay = delay;
            probeAt = Math.max(pausedUntil, now) + delay;
        }
    }

    private void pause(long until, long now) {
        long from = Math.max(pausedUntil, now);
        if (until > from) {
            pausedUntil = until;
            runEnd += countsWaits || runEnd == MapRun.NEVER ? 0 : until - from;
        }
    }

    /** Doubles the back-off, but only once for all calls that were sent before it. */
    private long nextBackOff(long sentAt, long now) {
        if (backOff == 0 || sentAt >= backedOffAt) {
            backOff = backOff == 0 ? FIRST_BACK_OFF : Math.min(2 * backOff, LONGEST_BACK_OFF);
            backedOffAt = now;
        }
        return (long) (backOff * ThreadLocalRandom.current().nextDouble(0.5, 1));
    }
}
