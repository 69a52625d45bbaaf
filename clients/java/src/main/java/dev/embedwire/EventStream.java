package dev.embedwire;

import java.util.Optional;
import java.util.concurrent.Flow;

/**
 * The events of one call, as they arrive. The server sends no more than is taken.
 *
 * <p>Segments of one input come in order, inputs interleave, and each input ends with its {@link Result}. Reading
 * throws {@link EmbedwireException} if the call fails, or its only input; and {@link java.io.UncheckedIOException} if a
 * file cannot be read.
 */
public final class EventStream extends CloseableIterator<Event> {
    private final String requestId;
    private Optional<Flow.Subscription> call = Optional.empty();

    EventStream(String requestId) {
        super(requestId);
        this.requestId = requestId;
    }

    /** {@return the id of the call; the server's log has the details under it} */
    public String requestId() {
        return requestId;
    }

    @Override
    void taken() {
        call.orElseThrow().request(1);
    }

    @Override
    void stopped() {
        call.orElseThrow().cancel();
    }

    /** Adds the events of the call. One is requested ahead of the reader. */
    Flow.Subscriber<Event> subscriber() {
        return new Flow.Subscriber<>() {
            @Override
            public void onSubscribe(Flow.Subscription subscription) {
                call = Optional.of(subscription);
                subscription.request(1);
            }

            @Override
            public void onNext(Event event) {
                add(event);
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
