package dev.embedwire;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.embedwire.v1.ErrorReason;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Flow;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.Test;

/** Calls without a thread that waits. */
class AsyncTest {
    private static final List<Text> TWO = List.of(Text.of("a"), Text.of("b"));
    private static final Image MISSING = Image.of(Source.path(Path.of("missing.png")));

    /** A future gives what embed() gives. Its callbacks may block, since they run in none of gRPC's network threads. */
    @Test
    void future() throws Exception {
        try (var server = FakeServer.embedding();
                var client = server.client().build()) {
            var embeddings = client.embedAsync("m", TWO, Options.DEFAULT);
            assertEquals(2, embeddings.get().size());
            var nested = client.embedAsync("m", TWO.get(0), Options.DEFAULT)
                    .thenApply(first -> client.embed("m", TWO).size());
            assertEquals(2, nested.get());
        }
    }

    /** Cancelling the future ends the call. */
    @Test
    void cancelledFuture() throws Exception {
        try (var server = new FakeServer(call -> call.answer(0));
                var client = server.client().build()) {
            var embeddings = client.embedAsync("m", TWO, Options.DEFAULT);
            await(server);
            assertTrue(embeddings.cancel(false));
            server.calls.get(0).isCancelled.get(30, TimeUnit.SECONDS);
        }
    }

    /** Failures of calls and of files are those of the future. */
    @Test
    void failedFuture() throws Exception {
        try (var server = new FakeServer(
                        call -> call.fail(Status.Code.NOT_FOUND, ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND));
                var client = server.client().build()) {
            var failed = assertThrows(CompletionException.class, client.embedAsync("m", TWO, Options.DEFAULT)::join);
            assertInstanceOf(RequestException.class, failed.getCause());
            var missing =
                    assertThrows(CompletionException.class, client.embedAsync("m", MISSING, Options.DEFAULT)::join);
            assertInstanceOf(UncheckedIOException.class, missing.getCause());
        }
    }

    /** A subscriber gets as many events as it asks for, and no more messages are requested of the server. */
    @Test
    void demand() throws Exception {
        var requested = new AtomicInteger();
        try (var server = FakeServer.embedding(); // sends a message of two events for each input
                var client = server.client().interceptors(counting(requested)).build()) {
            var subscriber = new Events(1);
            client.publish("m", TWO, Options.DEFAULT).subscribe(subscriber);
            await(() -> subscriber.events.size() == 1);
            assertEquals(1, requested.get());
            subscriber.call.request(1);
            await(() -> subscriber.events.size() == 2);
            assertEquals(1, requested.get()); // it was in the message
            subscriber.call.request(1);
            await(() -> subscriber.events.size() == 3);
            assertEquals(2, requested.get());
            assertFalse(subscriber.failure.isDone());
            subscriber.call.request(Long.MAX_VALUE);
            subscriber.call.request(Long.MAX_VALUE);
            assertNull(subscriber.failure.get());
            assertEquals(4, subscriber.events.size());
        }
    }

    /** Each subscription makes a call of its own. */
    @Test
    void subscriptions() throws Exception {
        try (var server = FakeServer.embedding();
                var client = server.client().build()) {
            var publisher = client.publish("m", TWO, Options.DEFAULT);
            for (var subscriber : List.of(new Events(4), new Events(100))) {
                publisher.subscribe(subscriber);
                assertNull(subscriber.failure.get());
                assertEquals(4, subscriber.events.size());
            }
            assertEquals(2, server.calls.size());
        }
    }

    /** Cancelling the subscription ends the call, and nothing more comes. */
    @Test
    void cancelledSubscription() throws Exception {
        try (var server = new FakeServer(call -> call.answer(0));
                var client = server.client().build()) {
            var subscriber = new Events(1);
            client.publish("m", TWO, Options.DEFAULT).subscribe(subscriber);
            await(() -> subscriber.events.size() == 1);
            subscriber.call.cancel();
            subscriber.call.request(1);
            server.calls.get(0).isCancelled.get(30, TimeUnit.SECONDS);
            assertEquals(1, subscriber.events.size());
            assertFalse(subscriber.failure.isDone());
        }
    }

    /** An invalid demand ends the subscription with an error, also if events wait; a missing file does too. */
    @Test
    void failedSubscription() throws Exception {
        try (var server = new FakeServer(call -> call.answer(0));
                var client = server.client().build()) {
            var subscriber = new Events(1);
            client.publish("m", TWO, Options.DEFAULT).subscribe(subscriber);
            await(() -> subscriber.events.size() == 1);
            subscriber.call.request(0);
            assertInstanceOf(IllegalArgumentException.class, subscriber.failure.get());
            server.calls.get(0).isCancelled.get(30, TimeUnit.SECONDS);
            var missing = new Events(1);
            client.publish("m", List.of(MISSING), Options.DEFAULT).subscribe(missing);
            assertInstanceOf(UncheckedIOException.class, missing.failure.get());
        }
    }

    /** A subscriber that throws ends its call. */
    @Test
    void throwingSubscriber() throws Exception {
        try (var server = new FakeServer(call -> call.answer(0));
                var client = server.client().build()) {
            client.publish("m", TWO, Options.DEFAULT).subscribe(new Throwing());
            await(server);
            server.calls.get(0).isCancelled.get(30, TimeUnit.SECONDS);
        }
    }

    private static void await(FakeServer server) throws InterruptedException {
        await(() -> !server.calls.isEmpty());
    }

    private static void await(BooleanSupplier condition) throws InterruptedException {
        while (!condition.getAsBoolean()) {
            TimeUnit.MILLISECONDS.sleep(1); // the timeout of all tests ends it
        }
    }

    /** Counts the messages that are requested of the server. */
    private static ClientInterceptor counting(AtomicInteger requested) {
        return new ClientInterceptor() {
            @Override
            public <Q, A> ClientCall<Q, A> interceptCall(
                    MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
                return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
                    @Override
                    public void request(int count) {
                        requested.addAndGet(count);
                        super.request(count);
                    }
                };
            }
        };
    }

    private static final class Throwing implements Flow.Subscriber<Event> {
        @Override
        public void onSubscribe(Flow.Subscription subscription) {
            subscription.request(1);
        }

        @Override
        public void onNext(Event event) {
            throw new IllegalStateException("of a subscriber, printed by gRPC");
        }

        @Override
        public void onError(Throwable error) {}

        @Override
        public void onComplete() {}
    }
}
