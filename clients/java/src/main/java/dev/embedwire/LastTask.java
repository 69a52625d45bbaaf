package dev.embedwire;

import java.util.concurrent.Flow;

/**
 * Passes on the events of a call with one input, and adds the upstream's task to a failure without one, as known from
 * the progress before. A call that ends at the client has no other source of it.
 */
final class LastTask implements Flow.Subscriber<Event> {
    private final Flow.Subscriber<? super Event> subscriber;
    private String task = "";

    LastTask(Flow.Subscriber<? super Event> subscriber) {
        this.subscriber = subscriber;
    }

    @Override
    public void onSubscribe(Flow.Subscription call) {
        subscriber.onSubscribe(call);
    }

    @Override
    public void onNext(Event event) {
        if (event instanceof Progress progress && !progress.upstreamTaskId().isEmpty()) {
            task = progress.upstreamTaskId();
        }
        subscriber.onNext(event);
    }

    @Override
    public void onError(Throwable error) {
        subscriber.onError(error instanceof EmbedwireException failed ? failed.withTask(task) : error);
    }

    @Override
    public void onComplete() {
        subscriber.onComplete();
    }
}
