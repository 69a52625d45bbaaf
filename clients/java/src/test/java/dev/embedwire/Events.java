package dev.embedwire;

import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.Flow;

/** Subscribes to events, and asks for some of them. */
final class Events implements Flow.Subscriber<Event> {
    final List<Event> events = new CopyOnWriteArrayList<>();
    /** Ends with an error, or with null for a call that succeeded. */
    final CompletableFuture<Throwable> failure = new CompletableFuture<>();

    private final long first;
    volatile Flow.Subscription call;

    Events(long first) {
        this.first = first;
    }

    @Override
    public void onSubscribe(Flow.Subscription subscription) {
        call = subscription;
        subscription.request(first);
    }

    @Override
    public void onNext(Event event) {
        events.add(event);
    }

    @Override
    public void onError(Throwable error) {
        failure.complete(error);
    }

    @Override
    public void onComplete() {
        failure.complete(null);
    }
}
