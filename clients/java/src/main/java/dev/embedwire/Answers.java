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

    /** Ends the call; who waits for it goes on. */
    void cancel();
}
