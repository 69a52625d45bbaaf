package dev.embedwire;

import java.util.Optional;
import java.util.concurrent.Flow;

/**
 * The events of one call, as they arrive. Flow control limits the server to the pace of the reader.
 *
 * <p>Segments of one input arrive in order, inputs interleave, and each input ends with its {@link Result}. An input
 * that the upstream processes as an asset or as a task also has {@link Progress}, before its segments. Reading throws
 * {@link EmbedwireException} if the call or its only input fails, and {@link java.io.UncheckedIOException} if a file
 * cannot be read.
 */
public final class EventStream extends CloseableIterator<Event> {
    private final String requestId;
    private Optional<Flow.Subscription> call = Optional.empty();

    EventStream(String requestId) {
        super(requestId);
        this.requestId = requestId;
    }

    /** {@return the id of the call in the server's log} */
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

    /** Returns a subscriber that adds the events of the call. It requests one event ahead of the reader. */
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
