package dev.embedwire;

import java.util.Optional;

/** What is read of a call. */
interface Answers<A> {
    /**
     * The next message, or nothing if the call has ended well.
     *
     * @throws io.grpc.StatusRuntimeException it has ended otherwise
     */
    Optional<A> read() throws InterruptedException;

    /** Cancels the call; a pending read returns. */
    void cancel();
}
