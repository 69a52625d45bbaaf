package dev.embedwire;

import io.grpc.ClientCall;
import java.util.function.Consumer;

/** A sender of the request messages of a call, of type Q. */
@FunctionalInterface
interface Sender<Q> {
    /** Sends all messages of a started call, or begins to. Errors of the sender go to {@code failed}. */
    void send(ClientCall<Q, ?> call, Consumer<RuntimeException> failed);

    /** Called when the transport accepts messages again. */
    default void ready() {}

    /** Stops sending: the call has ended or is about to be cancelled. */
    default void stop() {}

    static <Q> Sender<Q> of(Q message) {
        return (call, failed) -> {
            call.sendMessage(message);
            call.halfClose();
        };
    }
}
