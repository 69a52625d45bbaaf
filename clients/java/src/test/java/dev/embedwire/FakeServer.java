package dev.embedwire;

import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import dev.embedwire.v1.CreateEmbeddingFromUploadRequest;
import dev.embedwire.v1.CreateEmbeddingFromUploadResponse;
import dev.embedwire.v1.CreateEmbeddingRequest;
import dev.embedwire.v1.CreateEmbeddingResponse;
import dev.embedwire.v1.CreateEmbeddingUnaryRequest;
import dev.embedwire.v1.CreateEmbeddingUnaryResponse;
import dev.embedwire.v1.EmbeddingEvent;
import dev.embedwire.v1.EmbeddingServiceGrpc.EmbeddingServiceImplBase;
import dev.embedwire.v1.ErrorReason;
import dev.embedwire.v1.Failure;
import dev.embedwire.v1.FloatValues;
import dev.embedwire.v1.InputEmbedding;
import dev.embedwire.v1.InputProgress;
import dev.embedwire.v1.InputResult;
import dev.embedwire.v1.ProgressStage;
import dev.embedwire.v1.Segment;
import dev.embedwire.v1.Vector;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.ServerInterceptors;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.net.SocketAddress;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Consumer;

/** A real server on a port of its own, whose answers a test scripts. Each vector has one number: the input's index. */
final class FakeServer extends EmbeddingServiceImplBase implements ServerInterceptor, AutoCloseable {
    /** The calls in order; uploads with their first message. */
    final List<Exchange> calls = new CopyOnWriteArrayList<>();

    final Queue<Metadata> headers = new ConcurrentLinkedQueue<>();
    final Queue<SocketAddress> peers = new ConcurrentLinkedQueue<>();
    private final Consumer<Exchange> script;
    private final Server server;

    FakeServer(Consumer<Exchange> script) throws IOException {
        this.script = script;
        this.server = Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create())
                .addService(ServerInterceptors.intercept(this, this))
                .build()
                .start();
    }

    /** A server that embeds everything. */
    static FakeServer embedding() throws IOException {
        return new FakeServer(Exchange::embed);
    }

    int port() {
        return server.getPort();
    }

    EmbedwireClientBuilder client() {
        return EmbedwireClient.builder("127.0.0.1:" + port());
    }

    @Override
    public void close() {
        server.shutdownNow();
    }

    @Override
    public <Q, A> ServerCall.Listener<Q> interceptCall(
            ServerCall<Q, A> call, Metadata metadata, ServerCallHandler<Q, A> next) {
        headers.add(metadata);
        peers.add(call.getAttributes().get(Grpc.TRANSPORT_ATTR_REMOTE_ADDR));
        return next.startCall(call, metadata);
    }

    @Override
    public void createEmbedding(CreateEmbeddingRequest request, StreamObserver<CreateEmbeddingResponse> answers) {
        var exchange = new Exchange(
                request,
                events -> answers.onNext(CreateEmbeddingResponse.newBuilder()
                        .addAllEvents(events)
                        .build()),
                answers);
        exchange.isComplete.complete(null);
        begin(exchange);
    }

    @Override
    public void createEmbeddingUnary(
            CreateEmbeddingUnaryRequest request, StreamObserver<CreateEmbeddingUnaryResponse> answers) {
        var asStream = CreateEmbeddingRequest.newBuilder()
                .addAllInputs(request.getInputsList())
                .build();
        var exchange = new Exchange(
                asStream,
                events -> answers.onNext(CreateEmbeddingUnaryResponse.newBuilder()
                        .addEmbeddings(InputEmbedding.newBuilder()
                                .addSegments(events.get(0).getSegment())
                                .setResult(events.get(1).getResult()))
                        .build()),
                answers);
        exchange.isComplete.complete(null);
        begin(exchange);
    }

    @Override
    public StreamObserver<CreateEmbeddingFromUploadRequest> createEmbeddingFromUpload(
            StreamObserver<CreateEmbeddingFromUploadResponse> answers) {
        return new StreamObserver<>() {
            private Optional<Exchange> exchange = Optional.empty();

            @Override
            public void onNext(CreateEmbeddingFromUploadRequest message) {
                if (message.hasRequest()) {
                    exchange = Optional.of(new Exchange(
                            message.getRequest(),
                            events -> answers.onNext(CreateEmbeddingFromUploadResponse.newBuilder()
                                    .addAllEvents(events)
                                    .build()),
                            answers));
                    begin(exchange.get());
                } else {
                    exchange.orElseThrow().add(message.getChunk().getData());
                }
            }

            @Override
            public void onError(Throwable error) {} // cancelled

            @Override
            public void onCompleted() {
                exchange.orElseThrow().isComplete.complete(null);
            }
        };
    }

    private void begin(Exchange exchange) {
        calls.add(exchange);
        exchange.number = calls.indexOf(exchange);
        script.accept(exchange);
    }

    /** One call, and how to answer it. */
    static final class Exchange {
        final CreateEmbeddingRequest request;
        /** Ends when all messages have arrived. */
        final CompletableFuture<Void> isComplete = new CompletableFuture<>();
        /** Ends with the first bytes of a file. */
        final CompletableFuture<Void> hasContent = new CompletableFuture<>();

        final CompletableFuture<Void> isCancelled = new CompletableFuture<>();
        volatile ByteString content = ByteString.EMPTY;
        volatile int number;
        private final Consumer<List<EmbeddingEvent>> sender;
        private final ServerCallStreamObserver<?> answers;

        Exchange(CreateEmbeddingRequest request, Consumer<List<EmbeddingEvent>> sender, StreamObserver<?> answers) {
            this.request = request;
            this.sender = sender;
            this.answers = (ServerCallStreamObserver<?>) answers;
            Context.current().addListener(context -> isCancelled.complete(null), Runnable::run);
        }

        private void add(ByteString data) {
            content = content.concat(data);
            if (!data.isEmpty()) {
                hasContent.complete(null);
            }
        }

        /** Embeds all inputs, as soon as their files have arrived. */
        void embed() {
            var unused = isComplete.thenRun(() -> {
                for (int index = 0; index < request.getInputsCount(); index++) {
                    answer(index);
                }
                answers.onCompleted();
            });
        }

        /** Sends the segment and the result of one input. */
        void answer(int index) {
            String key = request.getInputs(index).getKey();
            sender.accept(List.of(
                    EmbeddingEvent.newBuilder()
                            .setSegment(Segment.newBuilder()
                                    .setInputIndex(index)
                                    .setInputKey(key)
                                    .setVector(Vector.newBuilder()
                                            .setFloatValues(
                                                    FloatValues.newBuilder().addValues(index))))
                            .build(),
                    EmbeddingEvent.newBuilder()
                            .setResult(InputResult.newBuilder()
                                    .setInputIndex(index)
                                    .setInputKey(key)
                                    .setSegmentCount(1))
                            .build()));
        }

        /** Sends the stage of one input that is processed in this task. */
        void progress(int index, String task) {
            sender.accept(List.of(EmbeddingEvent.newBuilder()
                    .setProgress(InputProgress.newBuilder()
                            .setInputIndex(index)
                            .setStage(ProgressStage.PROGRESS_STAGE_PROCESSING)
                            .setUpstreamTaskId(task))
                    .build()));
        }

        /** Ends the call with a failure. */
        void fail(Status.Code code, ErrorReason reason) {
            fail(code, Failure.newBuilder().setReason(reason));
        }

        private void fail(Status.Code code, Failure.Builder failure) {
            failure.setCode(code.value()).setMessage("scripted");
            answers.onError(StatusProto.toStatusRuntimeException(com.google.rpc.Status.newBuilder()
                    .setCode(code.value())
                    .addDetails(Any.pack(failure.build()))
                    .build()));
        }

        void reject() {
            fail(Status.Code.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_OVERLOADED);
        }

        /** Rejects the call after the upstream has created a task for its only input. */
        void reject(String task) {
            var failure = Failure.newBuilder()
                    .setReason(ErrorReason.ERROR_REASON_OVERLOADED)
                    .setUpstreamTaskId(task);
            fail(Status.Code.RESOURCE_EXHAUSTED, failure);
        }

        void reject(Duration delay) {
            var failure = Failure.newBuilder().setReason(ErrorReason.ERROR_REASON_OVERLOADED);
            failure.getRetryDelayBuilder().setSeconds(delay.toSeconds());
            fail(Status.Code.RESOURCE_EXHAUSTED, failure);
        }
    }
}
