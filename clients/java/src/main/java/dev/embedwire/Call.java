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
 * One call: requests of type Q, responses of type A, decoded to values of type T for a subscriber.
 *
 * <p>Flow control: a message is requested from gRPC only if the subscriber has demand and no value is left.
 *
 * <p>A call that the server rejected or ended in its shutdown is retried once, if the server asks for it and within the
 * same deadline. The retry policy of gRPC is not used, because it would also repeat a call whose connection broke while
 * the server worked on it.
 */
final class Call<Q, A, T> implements Flow.Subscription {
    /** The method of a call, the sender of its requests and the decoder of its responses. */
    record Exchange<Q, A, T>(MethodDescriptor<Q, A> method, Sender<Q> sender, Function<A, List<T>> decode) {}

    /** The request id and the options of a call, and whether it is retried after a rejection. */
    record Terms(String requestId, CallOptions options, boolean isRepeated) {
        /** Returns the nanoseconds until the deadline. */
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
    private boolean isDone; // no further signal goes to the subscriber

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

    /** Makes an attempt. Only an interceptor can throw here. */
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

    /** Schedules the retry, if one is allowed, and returns whether it did. */
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

    /** Signals the values for which there is demand. One thread at a time does this, until nothing is left. */
    private void emit() {
        synchronized (this) {
            if (isEmitting) {
                return; // the other thread checks again
            }
            isEmitting = true;
        }
        for (Optional<Runnable> signal = next(); signal.isPresent(); signal = next()) {
            try {
                signal.get().run();
            } catch (RuntimeException error) { // of the subscriber; no further signal goes to it
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
            } catch (EmbedwireException error) { // the message violates the contract
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
