package dev.embedwire;

import static java.util.Objects.requireNonNull;

import dev.embedwire.v1.ListModelsRequest;
import dev.embedwire.v1.ListModelsResponse;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;

/**
 * Calls an Embedwire server. Threads may share it; it connects with the first call.
 *
 * <p>Every call throws {@link EmbedwireException} if it fails, {@link java.io.UncheckedIOException} if a file cannot be
 * read, {@link IllegalArgumentException} if an argument is invalid, and {@link IllegalStateException} if the client is
 * closed.
 */
public final class EmbedwireClient implements AutoCloseable {
    private final Connection connection;
    private final Calls calls;

    EmbedwireClient(Connection connection) {
        this.connection = connection;
        this.calls = new Calls(connection);
    }

    /**
     * Starts to build a client.
     *
     * @param target HOST:PORT, or any other gRPC name such as "dns:///embeddings.internal:443"
     * @return the builder
     */
    public static EmbedwireClientBuilder builder(String target) {
        return new EmbedwireClientBuilder(target);
    }

    /** Closes the connections. Calls that are running fail, like later ones, with {@link IllegalStateException}. */
    @Override
    public void close() {
        connection.close();
    }

    /**
     * Embeds one or more inputs and returns every segment and result as it arrives.
     *
     * @param model name or alias of the model, for instance "marengo3.0"
     * @param inputs what to embed, 1 to 256
     * @param options the options of this call
     * @return the events; closing it ends the call
     */
    public EventStream stream(String model, List<? extends Input> inputs, Options options) {
        connection.checkOpen();
        var request = Request.of(model, inputs, options);
        var terms = connection.terms(CallKind.STREAM, options, connection.timeout(options, request.defaultTimeout()));
        var stream = new EventStream(terms.requestId());
        calls.start(CallKind.STREAM, request, terms, options.chunkBytes(), stream.subscriber());
        return stream;
    }

    /**
     * Does the same with the default options.
     *
     * @param model name or alias of the model
     * @param inputs what to embed, 1 to 256
     * @return the events; closing it ends the call
     */
    public EventStream stream(String model, List<? extends Input> inputs) {
        return stream(model, inputs, Options.DEFAULT);
    }

    /**
     * Embeds one or more inputs and returns when all have a result. The failure of a single input is thrown. Failures
     * among several inputs are in {@link Result#failure}.
     *
     * @param model name or alias of the model
     * @param inputs what to embed, 1 to 256
     * @param options the options of this call
     * @return one for each input, in their order
     */
    public List<Embedding> embed(String model, List<? extends Input> inputs, Options options) {
        connection.checkOpen();
        var request = Request.of(model, inputs, options);
        var terms = connection.terms(CallKind.EMBED, options, connection.timeout(options, request.defaultTimeout()));
        var replies = new Replies(terms.requestId(), request.count());
        var collected = new Collected<>(replies::embeddings);
        calls.start(CallKind.EMBED, request, terms, options.chunkBytes(), collected);
        return collected.await(terms.requestId());
    }

    /**
     * Does the same with the default options.
     *
     * @param model name or alias of the model
     * @param inputs what to embed, 1 to 256
     * @return one for each input, in their order
     */
    public List<Embedding> embed(String model, List<? extends Input> inputs) {
        return embed(model, inputs, Options.DEFAULT);
    }

    /**
     * Embeds one input.
     *
     * @param model name or alias of the model
     * @param input what to embed
     * @param options the options of this call
     * @return its embedding
     */
    public Embedding embed(String model, Input input, Options options) {
        return embed(model, List.of(input), options).get(0);
    }

    /**
     * Embeds one input with the default options.
     *
     * @param model name or alias of the model
     * @param input what to embed
     * @return its embedding
     */
    public Embedding embed(String model, Input input) {
        return embed(model, input, Options.DEFAULT);
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
     * @param model name or alias of the model
     * @param inputs what to embed
     * @param options the options of this run
     * @return the embeddings; closing it ends the run
     */
    public CloseableIterator<Embedding> map(String model, Iterator<? extends Input> inputs, MapOptions options) {
        connection.checkOpen();
        var run = new MapRun(
                connection, calls, requireNonNull(model, "model"), requireNonNull(inputs, "inputs"), options);
        connection.add(run);
        run.start();
        return run;
    }

    /** Does the same with the default options. */
    public CloseableIterator<Embedding> map(String model, Iterator<? extends Input> inputs) {
        return map(model, inputs, MapOptions.DEFAULT);
    }

    /** Does the same for inputs that give an iterator. */
    public CloseableIterator<Embedding> map(String model, Iterable<? extends Input> inputs, MapOptions options) {
        return map(model, inputs.iterator(), options);
    }

    /** Does the same with the default options. */
    public CloseableIterator<Embedding> map(String model, Iterable<? extends Input> inputs) {
        return map(model, inputs, MapOptions.DEFAULT);
    }

    /**
     * Lists what each model accepts and returns.
     *
     * @return all models
     */
    public List<Model> models() {
        connection.checkOpen();
        List<Model> found = new ArrayList<>();
        String token = "";
        do {
            ListModelsResponse page = page(token);
            page.getModelsList().forEach(each -> found.add(new Model(each)));
            token = page.getNextPageToken();
        } while (!token.isEmpty());
        return List.copyOf(found);
    }

    private ListModelsResponse page(String token) {
        var terms = connection.terms(
                CallKind.EMBED, Options.DEFAULT, connection.timeout(Options.DEFAULT, Duration.ofSeconds(60)));
        var collected = new Collected<ListModelsResponse, ListModelsResponse>(pages -> {
            if (pages.size() != 1) {
                throw new Replies(terms.requestId(), 0)
                        .broken("the server sent " + pages.size() + " pages in one call");
            }
            return pages.get(0);
        });
        calls.start(ListModelsRequest.newBuilder().setPageToken(token).build(), terms, collected);
        return collected.await(terms.requestId());
    }
}
