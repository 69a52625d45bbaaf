package dev.embedwire;

import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.function.Function;

/**
 * The events of one call, as they arrive: for one thread, and closed by any. The server sends no more than is taken.
 *
 * <p>Segments of one input come in order, inputs interleave, and each input ends with its {@link Result}. Reading
 * throws {@link EmbedwireException} if the call fails, or its only input; and {@link java.io.UncheckedIOException} if a
 * file cannot be read.
 */
public final class EventStream implements Iterator<Event>, AutoCloseable {
    private final String requestId;
    private final Answers<?> call;
    private final Reader reader;
    private final Optional<Upload> upload;
    private Optional<Event> next = Optional.empty();
    private volatile boolean isClosed;

    private interface Reader {
        Optional<Event> read() throws InterruptedException;
    }

    <A> EventStream(String requestId, Answers<A> call, Function<A, Optional<Event>> decode, Optional<Upload> upload) {
        this.requestId = requestId;
        this.call = call;
        this.reader = () -> {
            Optional<Event> event = Optional.empty();
            for (var message = call.read(); message.isPresent(); message = call.read()) {
                event = decode.apply(message.get());
                if (event.isPresent()) {
                    break;
                }
            }
            return event;
        };
        this.upload = upload;
    }

    /**
     * The id of the call, under which the server's log has the details.
     *
     * @return as it was chosen, or made by the client
     */
    public String requestId() {
        return requestId;
    }

    /** Waits for an event; false if there is none any more. */
    @Override
    public boolean hasNext() {
        if (next.isEmpty() && !isClosed) {
            next = read();
            upload.ifPresent(running ->
                    next.filter(Result.class::isInstance).ifPresent(result -> running.answered(result.inputIndex())));
        }
        return next.isPresent() && !isClosed;
    }

    /** Waits for an event, and gives it. */
    @Override
    public Event next() {
        if (!hasNext()) {
            throw new NoSuchElementException();
        }
        Event event = next.orElseThrow();
        next = Optional.empty();
        return event;
    }

    /** Ends the call, if it still runs; nothing more comes then. */
    @Override
    public void close() {
        isClosed = true;
        call.cancel();
    }

    private Optional<Event> read() {
        try {
            return reader.read();
        } catch (StatusRuntimeException error) {
            if (isClosed) {
                return Optional.empty();
            }
            upload.flatMap(Upload::failure).ifPresent(found -> {
                throw found;
            });
            throw Details.exception(error, requestId);
        } catch (InterruptedException error) {
            close();
            Thread.currentThread().interrupt();
            throw Details.exception(
                    Status.CANCELLED
                            .withDescription("the thread was interrupted")
                            .asRuntimeException(),
                    requestId);
        }
    }
}
