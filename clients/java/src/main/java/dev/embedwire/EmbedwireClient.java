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
 * Calls an Embedwire server. Threads may share it; it connects with the first call.
 *
 * <p>In every call, {@code model} is the name or an alias of a model, for instance "marengo3.0", and {@code inputs} has
 * 1 to 256 inputs, unless it is that of {@code map}.
 *
 * <p>Every call throws {@link EmbedwireException} if it fails, {@link UncheckedIOException} if a file cannot be read,
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

    /** Starts to build a client of a target: HOST:PORT, or another gRPC name like "dns:///embeddings.internal:443". */
    public static EmbedwireClientBuilder builder(String target) {
        return new EmbedwireClientBuilder(target);
    }

    /** Closes the connections. Calls that are running fail, like later ones, with {@link IllegalStateException}. */
    @Override
    public void close() {
        connection.close();
    }

    /** Embeds inputs and returns each segment and result as it arrives. Closing the stream ends the call. */
    public EventStream stream(String model, List<? extends Input> inputs, Options options) {
        connection.checkOpen();
        var request = Request.of(model, inputs, options);
        Terms terms = terms(CallKind.STREAM, options, request.defaultTimeout());
        var stream = new EventStream(terms.requestId());
        calls.start(CallKind.STREAM, request, terms, options.chunkBytes, stream.subscriber());
        return stream;
    }

    /** Does the same with the default options. */
    public EventStream stream(String model, List<? extends Input> inputs) {
        return stream(model, inputs, Options.DEFAULT);
    }

    /**
     * Does the same for a subscriber, which gets as many events as it requests; the server sends no more. Each
     * subscription makes a call; cancelling it ends the call. Files of together at most 1 MiB are read by
     * {@code subscribe}. All errors but that of a closed client go to the subscriber.
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
     * Embeds inputs and returns an embedding for each, in their order, when all have a result. The failure of a single
     * input is thrown. Failures among several inputs are in {@link Result#failure}.
     */
    public List<Embedding> embed(String model, List<? extends Input> inputs, Options options) {
        return collect(CallKind.EMBED, model, inputs, options, Function.identity())
                .await();
    }

    /** Does the same with the default options. */
    public List<Embedding> embed(String model, List<? extends Input> inputs) {
        return embed(model, inputs, Options.DEFAULT);
    }

    /** Does the same for one input. */
    public Embedding embed(String model, Input input, Options options) {
        return embed(model, List.of(input), options).get(0);
    }

    /** Does the same for one input, with the default options. */
    public Embedding embed(String model, Input input) {
        return embed(model, input, Options.DEFAULT);
    }

    /**
     * Does the same without waiting. The future fails with what {@link #embed} throws, and cancelling it ends the call.
     * Files of together at most 1 MiB are read before it is returned.
     */
    public CompletableFuture<List<Embedding>> embedAsync(String model, List<? extends Input> inputs, Options options) {
        return future(model, inputs, options, Function.identity());
    }

    /** Does the same for one input. */
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
        var collected = new Collected<Event, R>(terms.requestId(), events -> finish.apply(replies.embeddings(events)));
        calls.start(kind, request, terms, options.chunkBytes, collected);
        return collected;
    }

    /**
     * Embeds any number of inputs, in calls of several. It returns one embedding for each input, in the order of
     * arrival; {@link Result#inputIndex} is the position of the input in the iterator.
     *
     * <p>An input that fails is returned with its failure. Inputs that the server rejects because of a limit are sent
     * again until it accepts them; a stream or a pipe that may have been read ends with the rejection. At most about
     * {@code inputsPerCall * concurrentCalls} inputs are read ahead of what was taken. A thread of the client reads the
     * iterator, and closes it at the end if it is {@link AutoCloseable}; its exceptions are thrown after the embeddings
     * of the inputs before. If the timeout of the run passes, {@link DeadlineExceededException} is thrown at the end.
     *
     * <p>Take all embeddings or close the iterator that is returned, which ends the run.
     */
    public CloseableIterator<Embedding> map(String model, Iterator<? extends Input> inputs, MapOptions options) {
        connection.checkOpen();
        var run = new MapRun(
                connection, calls, requireNonNull(model, "model"), requireNonNull(inputs, "inputs"), options);
        connection.add(run);
        run.start();
        return run;
    }

    /** Does the same for inputs that give an iterator. */
    public CloseableIterator<Embedding> map(String model, Iterable<? extends Input> inputs, MapOptions options) {
        return map(model, inputs.iterator(), options);
    }

    /** Does the same for inputs that give an iterator, with the default options. */
    public CloseableIterator<Embedding> map(String model, Iterable<? extends Input> inputs) {
        return map(model, inputs, MapOptions.DEFAULT);
    }

    /** Lists what each model accepts and returns, as messages of the contract. */
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
        var page = new Collected<ListModelsResponse, ListModelsResponse>(terms.requestId(), found -> {
            if (found.size() != 1) {
                throw new Replies(terms.requestId(), 0)
                        .broken("the server sent " + found.size() + " messages in a call of one");
            }
            return found.get(0);
        });
        calls.start(ListModelsRequest.newBuilder().setPageToken(token).build(), terms, page);
        return page.await();
    }

    private Terms terms(CallKind kind, Options options, Duration defaultTimeout) {
        return connection.terms(kind, options, connection.timeout(options, defaultTimeout));
    }
}
