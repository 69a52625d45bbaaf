package dev.embedwire;

import static java.util.Objects.requireNonNull;

import dev.embedwire.Call.Terms;
import dev.embedwire.v1.ListModelsRequest;
import dev.embedwire.v1.ListModelsResponse;
import dev.embedwire.v1.Model;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Flow;
import java.util.concurrent.SubmissionPublisher;
import java.util.function.Function;

/**
 * A client of an Embedwire server. It is safe for use by several threads. The first call opens the connection.
 *
 * <p>In all calls, {@code model} is the name or an alias of a model, for instance "marengo3.0". {@code inputs} has 1 to
 * 256 inputs; in {@code map} it has any number.
 *
 * <p>All calls throw {@link EmbedwireException} if they fail, {@link UncheckedIOException} if a file cannot be read,
 * {@link IllegalArgumentException} if an argument is invalid, and {@link IllegalStateException} if the client is
 * closed.
 */
public final class EmbedwireClient implements AutoCloseable {
    private final Connection connection;
    private final Calls calls;

    EmbedwireClient(Connection connection) {
        this.connection = connection;
        this.calls = new Calls(connection);
    }

    /** Returns a builder for a target: HOST:PORT, or another gRPC target like "dns:///embeddings.internal:443". */
    public static EmbedwireClientBuilder builder(String target) {
        return new EmbedwireClientBuilder(target);
    }

    /** Closes the connections. Running and later calls fail with {@link IllegalStateException}. */
    @Override
    public void close() {
        connection.close();
    }

    /**
     * Embeds inputs and returns a stream that yields each {@link Segment}, {@link Result} and {@link Progress} as it
     * arrives. The failure of a single input is thrown; failures among several inputs are in {@link Result#failure}.
     * Segments are provisional until the result of their input: a failed result invalidates them. Closing the stream
     * cancels the call.
     */
    public EventStream stream(String model, List<? extends Input> inputs, Options options) {
        connection.checkOpen();
        var request = Request.of(model, inputs, options);
        Terms terms = terms(CallKind.STREAM, options, request.defaultTimeout());
        var stream = new EventStream(terms.requestId());
        calls.start(CallKind.STREAM, request, terms, options.chunkBytes, stream.subscriber());
        return stream;
    }

    /** Calls {@link #stream(String, List, Options)} with the default options. */
    public EventStream stream(String model, List<? extends Input> inputs) {
        return stream(model, inputs, Options.DEFAULT);
    }

    /**
     * Returns a publisher of the events of {@link #stream(String, List, Options)}. It follows the demand of its
     * subscriber (backpressure); the server sends no more than is requested. Each subscription makes a call, and
     * cancelling it cancels the call. Files of together at most 1 MiB are read by {@code subscribe}. All errors except
     * that of a closed client go to the subscriber.
     */
    public Flow.Publisher<Event> publish(String model, List<? extends Input> inputs, Options options) {
        connection.checkOpen();
        List<Input> copy = List.copyOf(inputs);
        return subscriber -> publish(model, copy, options, requireNonNull(subscriber, "subscriber"));
    }

    private void publish(String model, List<Input> inputs, Options options, Flow.Subscriber<? super Event> subscriber) {
        Request request;
        try {
            connection.checkOpen();
            request = Request.of(model, inputs, options);
        } catch (RuntimeException error) {
            var failed = new SubmissionPublisher<Event>();
            failed.subscribe(subscriber);
            failed.closeExceptionally(error);
            return;
        }
        Terms terms = terms(CallKind.PUBLISH, options, request.defaultTimeout());
        calls.start(CallKind.PUBLISH, request, terms, options.chunkBytes, subscriber);
    }

    /**
     * Embeds inputs and returns an embedding for each, in the order of the inputs, when all have a result. The failure
     * of a single input is thrown; failures among several inputs are in {@link Result#failure}. A single text is sent
     * by the unary RPC, which costs less than a stream.
     */
    public List<Embedding> embed(String model, List<? extends Input> inputs, Options options) {
        return collect(CallKind.EMBED, model, inputs, options, Function.identity())
                .await();
    }

    /** Calls {@link #embed(String, List, Options)} with the default options. */
    public List<Embedding> embed(String model, List<? extends Input> inputs) {
        return embed(model, inputs, Options.DEFAULT);
    }

    /** Embeds one input and returns its embedding. The failure of the input is thrown. */
    public Embedding embed(String model, Input input, Options options) {
        return embed(model, List.of(input), options).get(0);
    }

    /** Calls {@link #embed(String, Input, Options)} with the default options. */
    public Embedding embed(String model, Input input) {
        return embed(model, input, Options.DEFAULT);
    }

    /**
     * Embeds inputs without blocking. The future fails with the exceptions of {@link #embed(String, List, Options)};
     * cancelling it cancels the call. Files of together at most 1 MiB are read before the method returns.
     */
    public CompletableFuture<List<Embedding>> embedAsync(String model, List<? extends Input> inputs, Options options) {
        return future(model, inputs, options, Function.identity());
    }

    /** Embeds one input without blocking, like {@link #embedAsync(String, List, Options)}. */
    public CompletableFuture<Embedding> embedAsync(String model, Input input, Options options) {
        return future(model, List.of(input), options, embeddings -> embeddings.get(0));
    }

    private <R> CompletableFuture<R> future(
            String model, List<? extends Input> inputs, Options options, Function<List<Embedding>, R> finish) {
        try {
            return collect(CallKind.EMBED_ASYNC, model, inputs, options, finish).future();
        } catch (UncheckedIOException error) {
            return CompletableFuture.failedFuture(error);
        }
    }

    private <R> Collected<Event, R> collect(
            CallKind kind,
            String model,
            List<? extends Input> inputs,
            Options options,
            Function<List<Embedding>, R> finish) {
        connection.checkOpen();
        var request = Request.of(model, inputs, options);
        Terms terms = terms(kind, options, request.defaultTimeout());
        var replies = new Replies(terms.requestId(), request.count());
        var collected = new Collected<Event, R>(
                terms.requestId(), events -> finish.apply(replies.embeddings(events)), event -> report(event, options));
        calls.start(kind, request, terms, options.chunkBytes, collected);
        return collected;
    }

    /**
     * Embeds any number of inputs in concurrent calls of several inputs each. The returned iterator yields one
     * embedding for each input, in the order of arrival; {@link Result#inputIndex} is the position of the input in
     * {@code inputs}.
     *
     * <p>The failure of an input is in its result. Inputs that the server rejects (OVERLOADED, RATE_LIMITED, DRAINING)
     * are sent again until it accepts them. A stream or a pipe that may have been read fails with the rejection, and so
     * does an input for which the upstream has created a task: its {@link Failure#upstreamTaskId} can be the source of
     * another input. At most about {@code inputsPerCall * concurrentCalls} inputs are read ahead of the returned
     * embeddings. A thread of the client reads {@code inputs}, and closes it at the end if it is {@link AutoCloseable};
     * its exceptions are thrown after the embeddings of the inputs before them. When the timeout of the run passes,
     * inputs without a result fail, then {@link DeadlineExceededException} is thrown.
     *
     * <p>Read all embeddings, or close the returned iterator, which ends the run.
     */
    public CloseableIterator<Embedding> map(String model, Iterator<? extends Input> inputs, MapOptions options) {
        connection.checkOpen();
        var run = new MapRun(
                connection, calls, requireNonNull(model, "model"), requireNonNull(inputs, "inputs"), options);
        connection.add(run);
        run.start();
        return run;
    }

    /** Calls {@link #map(String, Iterator, MapOptions)} with an iterator of the inputs. */
    public CloseableIterator<Embedding> map(String model, Iterable<? extends Input> inputs, MapOptions options) {
        return map(model, inputs.iterator(), options);
    }

    /** Calls {@link #map(String, Iterator, MapOptions)} with an iterator of the inputs and the default options. */
    public CloseableIterator<Embedding> map(String model, Iterable<? extends Input> inputs) {
        return map(model, inputs, MapOptions.DEFAULT);
    }

    /** Returns what each model accepts and returns, as messages of the contract. */
    public List<Model> models() {
        connection.checkOpen();
        List<Model> found = new ArrayList<>();
        String token = "";
        do {
            ListModelsResponse page = page(token);
            found.addAll(page.getModelsList());
            token = page.getNextPageToken();
        } while (!token.isEmpty());
        return List.copyOf(found);
    }

    private ListModelsResponse page(String token) {
        Terms terms = terms(CallKind.EMBED, Options.DEFAULT, Duration.ofSeconds(60));
        var page = new Collected<ListModelsResponse, ListModelsResponse>(
                terms.requestId(),
                found -> {
                    if (found.size() != 1) {
                        throw new Replies(terms.requestId(), 0)
                                .broken("the server sent " + found.size() + " messages in a call of one");
                    }
                    return found.get(0);
                },
                answer -> {});
        calls.start(ListModelsRequest.newBuilder().setPageToken(token).build(), terms, page);
        return page.await();
    }

    private static void report(Event event, Options options) {
        if (event instanceof Progress progress) {
            options.onProgress.ifPresent(function -> function.accept(progress));
        }
    }

    private Terms terms(CallKind kind, Options options, Duration defaultTimeout) {
        return connection.terms(kind, options, connection.timeout(options, defaultTimeout));
    }
}
