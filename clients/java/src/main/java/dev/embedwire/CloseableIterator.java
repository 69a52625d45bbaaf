package dev.embedwire;

import java.util.ArrayDeque;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.Queue;

/**
 * Values that arrive over time. One thread waits for them and takes them; any thread may close it.
 *
 * @param <T> what arrives
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

    /** A value was taken. */
    abstract void taken();

    /** The iterator was ended early. */
    abstract void stopped();

    final synchronized boolean isOver() {
        return isOver;
    }

    /** Adds a value, unless the iterator has ended. */
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

    /** Waits for a value; false if there are no more. */
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

    /** Waits for a value, and returns it. */
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

    /** {@return this object; the values can be taken only once} */
    @Override
    public final Iterator<T> iterator() {
        return this;
    }

    /** Ends the work that is still running. No more values come after that. */
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
