package dev.embedwire;

import dev.embedwire.Call.Exchange;
import dev.embedwire.Call.Terms;
import dev.embedwire.v1.EmbeddingServiceGrpc;
import dev.embedwire.v1.ListModelsRequest;
import dev.embedwire.v1.ListModelsResponse;
import java.util.List;
import java.util.concurrent.Flow;

/** Chooses the method of a call and starts it. */
final class Calls {
    private final Connection connection;

    Calls(Connection connection) {
        this.connection = connection;
    }

    /** Starts a call of embeddings. A single text whose events are collected anyway needs no stream. */
    void start(CallKind kind, Request request, Terms terms, int chunkBytes, Flow.Subscriber<? super Event> subscriber) {
        var replies = new Replies(terms.requestId(), request.count());
        Flow.Subscriber<? super Event> receiver = request.count() == 1 ? new LastTask(subscriber) : subscriber;
        if (!request.uploads().isEmpty()) {
            var upload = new Upload(request, chunkBytes);
            // An upload is not repeated, since its files may be ones that can be read only once.
            var once = new Terms(terms.requestId(), terms.options(), false);
            var exchange = new Exchange<>(
                    EmbeddingServiceGrpc.getCreateEmbeddingFromUploadMethod(),
                    upload,
                    answer -> upload.seen(replies.events(answer.getEventsList())));
            new Call<>(connection, exchange, once, receiver).start();
        } else if (kind.isCollected && request.isOneText()) {
            var exchange = new Exchange<>(
                    EmbeddingServiceGrpc.getCreateEmbeddingUnaryMethod(), Sender.of(request.unary()), replies::unary);
            new Call<>(connection, exchange, terms, receiver).start();
        } else {
            var exchange = new Exchange<>(
                    EmbeddingServiceGrpc.getCreateEmbeddingMethod(),
                    Sender.of(request.message()),
                    answer -> replies.events(answer.getEventsList()));
            new Call<>(connection, exchange, terms, receiver).start();
        }
    }

    /** Starts a call that gives one page of models. */
    void start(ListModelsRequest request, Terms terms, Flow.Subscriber<ListModelsResponse> subscriber) {
        var exchange = new Exchange<>(EmbeddingServiceGrpc.getListModelsMethod(), Sender.of(request), List::of);
        new Call<>(connection, exchange, terms, subscriber).start();
    }
}
