package dev.embedwire;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.util.ArrayDeque;
import java.util.Optional;
import java.util.Queue;

/**
 * One call, read by one thread and written by another, both of which block. At most one message is taken ahead of the
 * reader, and none is written that the transport does not take yet.
 *
 * <p>The blocking calls of gRPC itself can either not be cancelled or lose the trailers, in which the details are.
 */
final class Call<Q, A> extends ClientCall.Listener<A> implements Answers<A> {
    private final ClientCall<Q, A> call;
    private final Queue<A> arrived = new ArrayDeque<>(1);
    private Optional<RuntimeException> failure = Optional.empty();
    private boolean isOver;

    Call(Channel channel, MethodDescriptor<Q, A> method, CallOptions options, Metadata metadata) {
        call = channel.newCall(method, options.withExecutor(Runnable::run)); // nothing here blocks
        call.start(this, metadata);
        call.request(1);
    }

    /** Sends the only message. */
    Call<Q, A> with(Q message) {
        call.sendMessage(message);
        call.halfClose();
        return this;
    }

    @Override
    public synchronized Optional<A> read() throws InterruptedException {
        while (arrived.isEmpty() && !isOver) {
            wait();
        }
        if (!arrived.isEmpty()) {
            A message = arrived.remove();
            call.request(1);
            return Optional.of(message);
        }
        failure.ifPresent(found -> {
            throw found;
        });
        return Optional.empty();
    }

    /** Sends a message when the transport takes it; false if the call is over and nothing more is wanted. */
    synchronized boolean write(Q message) throws InterruptedException {
        while (!call.isReady() && !isOver) {
            wait();
        }
        if (!isOver) {
            call.sendMessage(message);
        }
        return !isOver;
    }

    /** Ends this side of the call. */
    synchronized void finish() {
        if (!isOver) {
            call.halfClose();
        }
    }

    @Override
    public synchronized void cancel() {
        if (!isOver) {
            isOver = true;
            failure = Optional.of(Status.CANCELLED
                    .withDescription("the caller ended the call")
                    .asRuntimeException());
            call.cancel("the caller ended the call", null);
            notifyAll();
        }
    }

    @Override
    public synchronized void onMessage(A message) {
        arrived.add(message);
        notifyAll();
    }

    @Override
    public synchronized void onReady() {
        notifyAll();
    }

    @Override
    public synchronized void onClose(Status status, Metadata trailers) {
        if (!isOver) {
            isOver = true;
            failure = status.isOk() ? Optional.empty() : Optional.of(status.asRuntimeException(trailers));
            notifyAll();
        }
    }
}
