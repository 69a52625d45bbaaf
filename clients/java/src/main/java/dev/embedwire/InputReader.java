package dev.embedwire;

import java.util.Iterator;
import java.util.Optional;
import java.util.OptionalLong;

/** Reads the caller's iterator in a separate thread, since it may block. */
final class InputReader implements Runnable {
    private final MapRun run;
    private final Iterator<?> inputs;

    InputReader(MapRun run, Iterator<?> inputs) {
        this.run = run;
        this.inputs = inputs;
    }

    @Override
    public void run() {
        Optional<Throwable> failure = Optional.empty();
        try {
            for (int position = 0; run.awaitRoom() && inputs.hasNext(); position++) {
                read(position, inputs.next());
            }
        } catch (Throwable error) { // of any class; it is rethrown to the caller
            failure = Optional.of(error);
        }
        var unused = Thread.interrupted(); // the end of the run, which does not concern the caller's close()
        try {
            if (inputs instanceof AutoCloseable closeable) {
                closeable.close();
            }
        } catch (Throwable error) {
            failure = failure.or(() -> Optional.of(error));
        }
        run.inputsEnded(failure);
    }

    private void read(int position, Object value) {
        if (!(value instanceof Input input)) {
            String type = value == null ? "null" : value.getClass().getName();
            throw new IllegalArgumentException(
                    "inputs[" + position + "]: must be a Text, an Image or an Audio, got " + type);
        }
        var found = new MapInput(position, input, OptionalLong.empty(), run.now());
        run.open(found);
        try {
            run.enqueue(found.measured());
        } catch (Throwable error) { // of any class; it ends only this input
            run.unreadable(found, error);
        }
    }
}
