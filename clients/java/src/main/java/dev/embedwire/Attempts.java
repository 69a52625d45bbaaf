package dev.embedwire;

import io.grpc.Deadline;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/**
 * A call that is made once more if it was refused before any work was done: when the server says so, within the same
 * deadline.
 *
 * <p>Not by the retry policy of gRPC, which would also repeat a call whose connection broke while the server was at
 * work.
 */
final class Attempts<A> implements Answers<A> {
    private final Supplier<Answers<A>> start;
    private final Deadline deadline;
    private final CountDownLatch cancelled = new CountDownLatch(1);
    private volatile Answers<A> call;
    private boolean isLast;

    Attempts(Supplier<Answers<A>> start, Deadline deadline, boolean isLast) {
        this.start = start;
        this.deadline = deadline;
        this.isLast = isLast;
        this.call = start.get();
    }

    @Override
    public Optional<A> read() throws InterruptedException {
        try {
            Optional<A> message = call.read();
            isLast = true; // work was done
            return message;
        } catch (StatusRuntimeException refusal) {
            again(refusal);
            return call.read();
        }
    }

    @Override
    public void cancel() {
        cancelled.countDown();
        call.cancel();
    }

    private void again(StatusRuntimeException refusal) throws InterruptedException {
        long left = deadline.timeRemaining(TimeUnit.NANOSECONDS);
        Optional<Duration> delay = Details.pushback(refusal).filter(asked -> !isLast && asked.toNanos() < left);
        if (delay.isEmpty() || cancelled.await(delay.get().toNanos(), TimeUnit.NANOSECONDS)) {
            throw refusal;
        }
        isLast = true;
        call = start.get();
        if (cancelled.getCount() == 0) { // meanwhile
            call.cancel();
        }
    }
}
