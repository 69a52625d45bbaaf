package dev.embedwire;

import io.grpc.ClientCall;
import java.util.function.Consumer;

/** Sends the messages of a call, of type Q. */
@FunctionalInterface
interface Sender<Q> {
    /** Sends all messages of a call that has started, or starts to. Errors of its own go to {@code failed}. */
    void send(ClientCall<Q, ?> call, Consumer<RuntimeException> failed);

    /** The transport accepts messages again. */
    default void ready() {}

    /** The call has ended or is about to be cancelled: nothing more may be sent. */
    default void stop() {}

    static <Q> Sender<Q> of(Q message) {
        return (call, failed) -> {
            call.sendMessage(message);
            call.halfClose();
        };
    }
}
