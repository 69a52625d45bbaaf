package dev.embedwire;

import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.concurrent.Flow;

/**
 * The events of one call, as they arrive. The server sends no more than is taken.
 *
 * <p>Segments of one input come in order, inputs interleave, and each input ends with its {@link Result}. Reading
 * throws {@link EmbedwireException} if the call fails, or its only input; and {@link java.io.UncheckedIOException} if a
 * file cannot be read.
 */
public final class EventStream implements CloseableIterator<Event> {
    private final String requestId;
    private Optional<Flow.Subscription> call = Optional.empty();
    private Optional<Event> next = Optional.empty();
    private Optional<Throwable> failure = Optional.empty();
    private boolean isOver;

    EventStream(String requestId) {
        this.requestId = requestId;
    }

    /** {@return the id of the call; the server's log has the details under it} */
    public String requestId() {
        return requestId;
    }

    /** Waits for an event; false if there are no more. */
    @Override
    public boolean hasNext() {
        try {
            return await();
        } catch (InterruptedException error) {
            close();
            Thread.currentThread().interrupt();
            throw StatusDetails.interrupted(requestId);
        }
    }

    /** Waits for an event, and returns it. */
    @Override
    public Event next() {
        if (!hasNext()) {
            throw new NoSuchElementException();
        }
        Event event;
        synchronized (this) {
            event = next.orElseThrow(NoSuchElementException::new); // closed meanwhile
            next = Optional.empty();
        }
        call.orElseThrow().request(1);
        return event;
    }

    /** Ends the call, if it is still running. No more events come after that. */
    @Override
    public void close() {
        synchronized (this) {
            isOver = true;
            next = Optional.empty();
            failure = Optional.empty();
            notifyAll();
        }
        call.ifPresent(Flow.Subscription::cancel);
    }

    private synchronized boolean await() throws InterruptedException {
        while (next.isEmpty() && !isOver) {
            wait();
        }
        if (next.isEmpty() && failure.isPresent()) {
            if (failure.get() instanceof EmbedwireException failed) {
                failed.fillInStackTrace(); // shows the caller in place of gRPC's thread
            }
            throw (RuntimeException) failure.get();
        }
        return next.isPresent();
    }

    private synchronized void end(Optional<Throwable> error) {
        isOver = true;
        failure = error;
        notifyAll();
    }

    /** Takes one event ahead of the reader. */
    Flow.Subscriber<Event> subscriber() {
        return new Flow.Subscriber<>() {
            @Override
            public void onSubscribe(Flow.Subscription subscription) {
                call = Optional.of(subscription);
                subscription.request(1);
            }

            @Override
            public void onNext(Event event) {
                synchronized (EventStream.this) {
                    next = isOver ? Optional.empty() : Optional.of(event);
                    EventStream.this.notifyAll();
                }
            }

            @Override
            public void onError(Throwable error) {
                end(Optional.of(error));
            }

            @Override
            public void onComplete() {
                end(Optional.empty());
            }
        };
    }
}
