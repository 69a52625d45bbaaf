package dev.embedwire;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Flow;
import java.util.function.Consumer;
import java.util.function.Function;

/** Collects all values of a call, of type T, into a result of type R. Cancelling the future cancels the call. */
final class Collected<T, R> implements Flow.Subscriber<T> {
    private final String requestId;
    private final List<T> values = new ArrayList<>();
    private final Function<List<T>, R> finish;
    private final Consumer<? super T> seen;
    private final CompletableFuture<R> future = new CompletableFuture<>();

    /** {@code seen} is called with each value as it arrives. Its exception ends the call. */
    Collected(String requestId, Function<List<T>, R> finish, Consumer<? super T> seen) {
        this.requestId = requestId;
        this.finish = finish;
        this.seen = seen;
    }

    CompletableFuture<R> future() {
        return future;
    }

    /**
     * Waits for the result.
     *
     * @throws EmbedwireException the call failed, or the thread was interrupted, which cancels the call
     */
    R await() {
        try {
            return future.get();
        } catch (InterruptedException error) {
            future.cancel(false);
            Thread.currentThread().interrupt();
            throw StatusDetails.interrupted(requestId);
        } catch (ExecutionException error) {
            throw StatusDetails.rethrown(error.getCause());
        }
    }

    @Override
    public void onSubscribe(Flow.Subscription call) {
        var unused = future.whenComplete((result, error) -> {
            if (error != null) { // of the caller; if the call itself has ended, this has no effect
                call.cancel();
            }
        });
        call.request(Long.MAX_VALUE);
    }

    @Override
    public void onNext(T value) {
        try {
            seen.accept(value);
            values.add(value);
        } catch (RuntimeException | Error error) { // of the caller's function
            future.completeExceptionally(error);
        }
    }

    @Override
    public void onError(Throwable error) {
        future.completeExceptionally(error);
    }

    @Override
    public void onComplete() {
        try {
            future.complete(finish.apply(values));
        } catch (RuntimeException error) {
            future.completeExceptionally(error);
        }
    }
}
