package dev.embedwire;

import java.util.Iterator;

/**
 * Values that arrive over time. One thread takes them; any thread may close it.
 *
 * @param <T> what arrives
 */
@SuppressWarnings("IterableAndIterator") // it can be used in a for loop, and be closed early
public interface CloseableIterator<T> extends Iterator<T>, Iterable<T>, AutoCloseable {
    /** Ends the work that is still running. No more values come after that. */
    @Override
    void close();

    /** {@return this object; the values can be taken only once} */
    @Override
    default Iterator<T> iterator() {
        return this;
    }
}
