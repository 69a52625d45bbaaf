package dev.embedwire;

import java.util.ArrayDeque;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.Queue;

/**
 * An iterator over values that arrive over time. One thread may iterate; any thread may close it.
 *
 * @param <T> type of the values
 */
@SuppressWarnings("IterableAndIterator") // it can be used in a for loop, and be closed early
public abstract class CloseableIterator<T> implements Iterator<T>, Iterable<T>, AutoCloseable {
    private final String requestId;
    private final Queue<T> values = new ArrayDeque<>();
    private boolean isOver;
    private Optional<Throwable> failure = Optional.empty();

    CloseableIterator(String requestId) {
        this.requestId = requestId;
    }

    /** Called after next() has returned a value. */
    abstract void taken();

    /** Called when the iterator is closed early. */
    abstract void stopped();

    final synchronized boolean isOver() {
        return isOver;
    }

    /** Appends a value, unless the iterator has ended. */
    final synchronized void add(T value) {
        if (!isOver) {
            values.add(value);
            notifyAll();
        }
    }

    /** Ends the iterator after the values that were added; false if it has ended. */
    final synchronized boolean end(Optional<Throwable> error) {
        if (isOver) {
            return false;
        }
        isOver = true;
        failure = error;
        notifyAll();
        return true;
    }

    /** Waits for the next value. Returns false if there are no more. Throws what made the call or the run fail. */
    @Override
    public final boolean hasNext() {
        try {
            return await();
        } catch (InterruptedException error) {
            close();
            Thread.currentThread().interrupt();
            throw StatusDetails.interrupted(requestId);
        }
    }

    /** Waits for the next value and returns it. Throws what made the call or the run fail. */
    @Override
    public final T next() {
        if (!hasNext()) {
            throw new NoSuchElementException();
        }
        T value;
        synchronized (this) {
            value = values.remove();
        }
        taken();
        return value;
    }

    /** {@return this object; the values can be iterated only once} */
    @Override
    public final Iterator<T> iterator() {
        return this;
    }

    /** Cancels the call or the run. There are no more values after that. */
    @Override
    public final void close() {
        boolean wasRunning = end(Optional.empty());
        synchronized (this) {
            values.clear();
            failure = Optional.empty();
        }
        if (wasRunning) {
            stopped();
        }
    }

    private synchronized boolean await() throws InterruptedException {
        while (values.isEmpty() && !isOver) {
            wait();
        }
        if (values.isEmpty() && failure.isPresent()) {
            throw StatusDetails.rethrown(failure.get());
        }
        return !values.isEmpty();
    }
}
