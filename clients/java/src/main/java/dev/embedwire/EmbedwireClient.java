package dev.embedwire;

import static java.util.Objects.requireNonNull;

import dev.embedwire.v1.EmbeddingServiceGrpc;
import dev.embedwire.v1.ListModelsRequest;
import dev.embedwire.v1.ListModelsResponse;
import io.grpc.CallOptions;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * Calls an Embedwire server. Safe to share between threads; it connects with the first call.
 *
 * <p>Every call throws {@link EmbedwireException} if it fails, {@link UncheckedIOException} if a file cannot be read,
 * and {@link IllegalArgumentException} if it cannot be meant.
 */
public final class EmbedwireClient implements AutoCloseable {
    private final Connection connection;
    private final ManagedChannel channel;

    private EmbedwireClient(Connection connection) {
        this.connection = connection;
        this.channel = connection.channel();
    }

    /**
     * A client to be made.
     *
     * @param target HOST:PORT, or any other gRPC name such as "dns:///embeddings.internal:443"
     * @return what it is made with
     */
    public static Builder builder(String target) {
        return new Builder(target);
    }

    /** Closes the connection; calls that still run are cancelled. */
    @Override
    public void close() {
        channel.shutdownNow();
    }

    /**
     * Embeds one or more inputs and hands out every segment and result as it arrives.
     *
     * @param model name or alias of the model, for instance "marengo3.0"
     * @param inputs what to embed, 1 to 256
     * @param options what this call chooses
     * @return the events; closing it ends the call
     */
    public EventStream stream(String model, List<? extends Input> inputs, Options options) {
        Requests.Plan plan = read(() -> Requests.plan(model, inputs, options));
        String requestId = Connection.requestId(options);
        var replies = new Replies(requestId);
        Duration timeout = Requests.defaultTimeout(inputs);
        if (plan.uploads().isEmpty()) {
            var method = EmbeddingServiceGrpc.getCreateEmbeddingMethod();
            var call = attempts(method, plan.request(), options, timeout, requestId);
            return new EventStream(requestId, call, replies::event, Optional.empty());
        }
        var method = EmbeddingServiceGrpc.getCreateEmbeddingFromUploadMethod();
        var call =
                new Call<>(channel, method, connection.callOptions(options, timeout), connection.metadata(requestId));
        var upload = new Upload(call, plan, options.chunkBytes());
        upload.start();
        return new EventStream(requestId, call, replies::event, Optional.of(upload));
    }

    /**
     * Embeds one or more inputs and hands out every segment and result as it arrives.
     *
     * @param model name or alias of the model
     * @param inputs what to embed
     * @return the events; closing it ends the call
     */
    public EventStream stream(String model, List<? extends Input> inputs) {
        return stream(model, inputs, Options.DEFAULT);
    }

    /**
     * Embeds one or more inputs and returns when all have a result. A failure of the only input is thrown, those among
     * several are in {@link Result#failure}.
     *
     * @param model name or alias of the model
     * @param inputs what to embed
     * @param options what this call chooses
     * @return one for each input, in their order
     */
    public List<Embedding> embed(String model, List<? extends Input> inputs, Options options) {
        try (EventStream events = stream(model, inputs, options)) {
            var collector = new Collector(inputs.size(), new Replies(events.requestId()));
            events.forEachRemaining(collector::add);
            return collector.embeddings();
        }
    }

    /**
     * Embeds one or more inputs and returns when all have a result.
     *
     * @param model name or alias of the model
     * @param inputs what to embed
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
     * @return its embedding
     */
    public Embedding embed(String model, Input input) {
        return embed(model, List.of(input)).get(0);
    }

    /**
     * Does what {@link #embed(String, List, Options)} does in one message each way: the cheapest call for a short text.
     *
     * @param model name or alias of the model
     * @param inputs what to embed; no streams, and files of together at most 15 MiB
     * @param options what this call chooses
     * @return one for each input, in their order
     */
    public List<Embedding> embedUnary(String model, List<? extends Input> inputs, Options options) {
        var message = read(() -> Requests.unary(model, inputs, options));
        String requestId = Connection.requestId(options);
        var method = EmbeddingServiceGrpc.getCreateEmbeddingUnaryMethod();
        var reply = only(method, message, options, Requests.defaultTimeout(inputs), requestId);
        return new Replies(requestId).unary(reply, inputs.size());
    }

    /**
     * Embeds one input in one message each way.
     *
     * @param model name or alias of the model
     * @param input what to embed; no stream, and at most 15 MiB
     * @return its embedding
     */
    public Embedding embedUnary(String model, Input input) {
        return embedUnary(model, List.of(input), Options.DEFAULT).get(0);
    }

    /**
     * What each model accepts and returns.
     *
     * @return all models
     */
    public List<Model> models() {
        List<Model> found = new ArrayList<>();
        String token = "";
        do {
            var request = ListModelsRequest.newBuilder().setPageToken(token).build();
            String requestId = Connection.requestId(Options.DEFAULT);
            ListModelsResponse page = only(
                    EmbeddingServiceGrpc.getListModelsMethod(),
                    request,
                    Options.DEFAULT,
                    Requests.defaultTimeout(List.of()),
                    requestId);
            page.getModelsList().forEach(each -> found.add(Replies.model(each)));
            token = page.getNextPageToken();
        } while (!token.isEmpty());
        return List.copyOf(found);
    }

    private <Q, A> Answers<A> attempts(
            MethodDescriptor<Q, A> method, Q message, Options options, Duration timeout, String requestId) {
        CallOptions chosen = connection.callOptions(options, timeout);
        return new Attempts<>(
                () -> new Call<>(channel, method, chosen, connection.metadata(requestId)).with(message),
                requireNonNull(chosen.getDeadline()),
                !connection.retryOnPushback());
    }

    /** The only answer to the only message. */
    private <Q, A> A only(
            MethodDescriptor<Q, A> method, Q message, Options options, Duration timeout, String requestId) {
        Answers<A> call = attempts(method, message, options, timeout, requestId);
        try {
            Optional<A> reply = call.read();
            if (reply.isEmpty() || call.read().isPresent()) {
                throw new Replies(requestId).broken("the server sent not one message");
            }
            return reply.get();
        } catch (StatusRuntimeException error) {
            throw Details.exception(error, requestId);
        } catch (InterruptedException error) {
            call.cancel();
            Thread.currentThread().interrupt();
            throw Details.exception(
                    Status.CANCELLED
                            .withDescription("the thread was interrupted")
                            .asRuntimeException(),
                    requestId);
        }
    }

    private interface Reading<T> {
        T read() throws IOException;
    }

    private static <T> T read(Reading<T> reading) {
        try {
            return reading.read();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    /** What a client is made with. Everything is optional. */
    public static final class Builder {
        private final String target;
        private Optional<Tls> tls = Optional.empty();
        private Optional<String> token = Optional.empty();
        private Optional<String> upstreamApiKey = Optional.empty();
        private Optional<Duration> timeout = Optional.empty();
        private boolean waitForReady;
        private boolean retryOnPushback = true;

        private Builder(String target) {
            this.target = requireNonNull(target, "target");
        }

        /**
         * Speaks TLS; without it, plain text.
         *
         * @param tls how
         * @return this
         */
        public Builder tls(Tls tls) {
            this.tls = Optional.of(tls);
            return this;
        }

        /**
         * Sends the bearer token that the server wants: over TLS, or to a loopback address only.
         *
         * @param token the token
         * @return this
         */
        public Builder token(String token) {
            this.token = Optional.of(token);
            return this;
        }

        /**
         * Sends your own key for the upstream, for servers that take one; as a token is. Without it the server's is
         * used.
         *
         * @param key the key
         * @return this
         */
        public Builder upstreamApiKey(String key) {
            this.upstreamApiKey = Optional.of(key);
            return this;
        }

        /**
         * What each call gets unless it chooses; without it 60 s, or 600 s if any input is audio.
         *
         * @param timeout from the start of the call to its end
         * @return this
         */
        public Builder timeout(Duration timeout) {
            this.timeout = Optional.of(timeout);
            return this;
        }

        /**
         * Waits for a server that is not there yet, within the timeout, rather than fail.
         *
         * @param waitForReady whether to
         * @return this
         */
        public Builder waitForReady(boolean waitForReady) {
            this.waitForReady = waitForReady;
            return this;
        }

        /**
         * Calls once more, as soon as the server asks for and within the timeout, what it refused before it did any
         * work. Nothing else is repeated, nor is an upload.
         *
         * @param retryOnPushback whether to; true unless chosen
         * @return this
         */
        public Builder retryOnPushback(boolean retryOnPushback) {
            this.retryOnPushback = retryOnPushback;
            return this;
        }

        /**
         * Makes the client.
         *
         * @return the client, to be closed
         * @throws IllegalArgumentException an argument cannot be used; the message says why
         */
        public EmbedwireClient build() {
            return new EmbedwireClient(
                    new Connection(target, tls, token, upstreamApiKey, timeout, waitForReady, retryOnPushback));
        }
    }
}
