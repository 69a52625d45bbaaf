package dev.embedwire;

import static java.util.Objects.requireNonNull;

import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.List;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Flow;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;

/**
 * One call: requests of type Q, answers of type A, from which a subscriber takes values of type T as it asks for them.
 *
 * <p>A message is requested from gRPC only if the subscriber wants a value and none is left. So a slow subscriber slows
 * the server down.
 *
 * <p>A call that the server rejected before it did any work is made once more, when the server asks for that and within
 * the same deadline. The retry policy of gRPC is not used, because it would also repeat a call whose connection broke
 * while the server worked on it.
 */
final class Call<Q, A, T> implements Flow.Subscription {
    /** The method of a call, and how its messages are written and read. */
    record Exchange<Q, A, T>(MethodDescriptor<Q, A> method, Sender<Q> sender, Function<A, List<T>> decode) {}

    /** Under which id and options a call is made, and whether it is made once more after a rejection. */
    record Terms(String requestId, CallOptions options, boolean isRepeated) {
        /** The nanoseconds until the deadline. */
        long remaining() {
            return requireNonNull(options.getDeadline()).timeRemaining(TimeUnit.NANOSECONDS);
        }
    }

    private final Connection connection;
    private final Exchange<Q, A, T> exchange;
    private final Terms terms;
    private final Flow.Subscriber<? super T> subscriber;
    private final Queue<T> values = new ArrayDeque<>();
    private Attempt attempt;
    private CompletableFuture<Void> delay = CompletableFuture.completedFuture(null);
    private boolean mayRepeat;
    private long demand;
    private boolean isRequested; // a message of this attempt that has not arrived yet
    private boolean isEmitting;
    private boolean isOver; // nothing more arrives
    private Optional<RuntimeException> failure = Optional.empty();
    private boolean isDone; // the subscriber gets nothing more

    Call(Connection connection, Exchange<Q, A, T> exchange, Terms terms, Flow.Subscriber<? super T> subscriber) {
        this.connection = connection;
        this.exchange = exchange;
        this.terms = terms;
        this.subscriber = subscriber;
        this.mayRepeat = terms.isRepeated();
    }

    void start() {
        subscriber.onSubscribe(this);
        begin();
    }

    @Override
    public void request(long count) {
        synchronized (this) {
            demand = demand + count < 0 ? Long.MAX_VALUE : demand + count;
            if (count <= 0) {
                values.clear();
            }
        }
        if (count <= 0) {
            fail(new IllegalArgumentException("request: must be 1 or more, got " + count));
        }
        emit();
    }

    @Override
    public void cancel() {
        synchronized (this) {
            isDone = true;
            values.clear();
        }
        stop();
    }

    /** Ends the call with this error, unless it has ended. */
    private void fail(RuntimeException error) {
        end(Optional.of(error));
        stop();
    }

    private void stop() {
        Optional<Attempt> running;
        synchronized (this) {
            delay.cancel(false);
            running = running();
        }
        running.ifPresent(Attempt::cancel);
    }

    private Optional<Attempt> running() {
        return Optional.ofNullable(attempt).filter(found -> found.isSent);
    }

    /** Makes an attempt. An exception here is one of an interceptor. */
    private void begin() {
        try {
            var made = new Attempt(connection.channel().newCall(exchange.method(), terms.options()));
            synchronized (this) {
                if (isDone || isOver) {
                    return;
                }
                attempt = made;
                isRequested = false;
            }
            made.start();
        } catch (RuntimeException error) {
            end(Optional.of(error));
        }
        emit();
    }

    /** Waits and makes the second attempt, if there may be one. */
    private synchronized boolean repeats(Status status, Metadata trailers) {
        Optional<Long> asked = StatusDetails.pushback(status, trailers)
                .map(Duration::toNanos)
                .filter(nanos -> mayRepeat && !isDone && nanos < terms.remaining());
        if (asked.isEmpty()) {
            return false;
        }
        mayRepeat = false;
        delay = new CompletableFuture<Void>().completeOnTimeout(null, asked.get(), TimeUnit.NANOSECONDS);
        var unused = delay.thenRunAsync(this::begin);
        return true;
    }

    private void end(Optional<RuntimeException> error) {
        synchronized (this) {
            if (!isOver) {
                isOver = true;
                failure = error;
            }
        }
        emit();
    }

    /** Hands out what may be handed out. One thread at a time does that, for as long as there is something. */
    private void emit() {
        synchronized (this) {
            if (isEmitting) {
                return; // that thread looks again
            }
            isEmitting = true;
        }
        for (Optional<Runnable> signal = next(); signal.isPresent(); signal = next()) {
            try {
                signal.get().run();
            } catch (RuntimeException error) { // of the subscriber, which gets nothing more
                cancel();
                throw error;
            }
        }
    }

    private synchronized Optional<Runnable> next() {
        if (!isDone && !values.isEmpty() && demand > 0) {
            demand -= demand == Long.MAX_VALUE ? 0 : 1;
            T value = values.remove();
            return Optional.of(() -> subscriber.onNext(value));
        }
        if (!isDone && values.isEmpty() && isOver) {
            isDone = true;
            return Optional.of(failure.<Runnable>map(found -> () -> subscriber.onError(found))
                    .orElse(subscriber::onComplete));
        }
        if (!isDone
                && values.isEmpty()
                && demand > 0
                && !isRequested
                && running().isPresent()) {
            isRequested = true;
            ClientCall<Q, A> call = attempt.call;
            return Optional.of(() -> call.request(1));
        }
        isEmitting = false;
        return Optional.empty();
    }

    /** One call of gRPC. */
    private final class Attempt extends ClientCall.Listener<A> {
        private final ClientCall<Q, A> call;
        private boolean isSent; // from then on it may be cancelled; guarded by the call

        Attempt(ClientCall<Q, A> call) {
            this.call = call;
        }

        void start() {
            call.start(this, connection.metadata(terms.requestId()));
            exchange.sender().send(call, Call.this::fail);
            boolean isUnwanted;
            synchronized (Call.this) {
                isSent = true;
                isUnwanted = isDone || isOver;
            }
            if (isUnwanted) {
                cancel();
            }
        }

        void cancel() {
            exchange.sender().stop();
            call.cancel("the client ended the call", null);
        }

        @Override
        public void onMessage(A message) {
            List<T> found;
            try {
                found = exchange.decode().apply(message);
            } catch (EmbedwireException error) { // the message is against the contract
                fail(error);
                return;
            }
            synchronized (Call.this) {
                mayRepeat = false; // the server has worked on it
                isRequested = false;
                if (!isDone && !isOver) {
                    values.addAll(found);
                }
            }
            emit();
        }

        @Override
        public void onReady() {
            exchange.sender().ready();
        }

        @Override
        public void onClose(Status status, Metadata trailers) {
            exchange.sender().stop();
            if (status.isOk()) {
                end(Optional.empty());
            } else if (!repeats(status, trailers)) {
                end(Optional.of(connection.exception(status, trailers, terms.requestId())));
            }
        }
    }
}
