package dev.embedwire;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;

/** The queue of inputs to send. A group is formed only when a call may be sent, so that it fills up. */
final class InputQueue {
    /** The maximum wait of a group that is not full for further inputs. */
    private static final long LINGER = TimeUnit.MILLISECONDS.toNanos(50);

    private final int inputsPerCall;
    private final Deque<Batch> again = new ArrayDeque<>();
    private final Deque<MapInput> uploads = new ArrayDeque<>();
    private final Deque<MapInput> small = new ArrayDeque<>();
    private long smallBytes;

    InputQueue(int inputsPerCall) {
        this.inputsPerCall = inputsPerCall;
    }

    void add(MapInput input) {
        (input.isUpload() ? uploads : small).add(input);
        smallBytes += input.isUpload() ? 0 : input.size().getAsLong();
    }

    /** Adds inputs that are sent again, before all others. */
    void addFirst(Batch batch) {
        again.addFirst(batch);
    }

    /** Removes and returns the next batch, if one is due. {@code isComplete}: no further inputs arrive. */
    Optional<Batch> take(long now, boolean isComplete) {
        if (!again.isEmpty()) {
            return Optional.of(again.remove());
        }
        boolean isDue = groupDue(isComplete) <= now;
        if (!uploads.isEmpty()
                && !(isDue && small.element().position() < uploads.element().position())) {
            return Optional.of(new Batch(List.of(uploads.remove()), MapRun.NEVER));
        }
        return isDue ? Optional.of(new Batch(group(), MapRun.NEVER)) : Optional.empty();
    }

    /** Returns when the next batch is due, unless further inputs arrive. */
    long due(boolean isComplete) {
        return again.isEmpty() && uploads.isEmpty() ? groupDue(isComplete) : 0;
    }

    /** Returns the earliest deadline of inputs that are sent again. */
    long deadline() {
        return again.stream().mapToLong(Batch::deadline).min().orElse(MapRun.NEVER);
    }

    /** Removes and returns the batches whose deadline has passed. */
    List<Batch> expired(long now) {
        List<Batch> found =
                again.stream().filter(batch -> batch.deadline() <= now).toList();
        again.removeAll(found);
        return found;
    }

    private long groupDue(boolean isComplete) {
        if (small.isEmpty()) {
            return MapRun.NEVER;
        }
        boolean isFull = small.size() >= inputsPerCall || smallBytes > Request.INLINE_BYTES;
        return isFull || isComplete ? 0 : small.element().readAt() + LINGER;
    }

    private List<MapInput> group() {
        List<MapInput> found = new ArrayList<>();
        long bytes = 0;
        while (!small.isEmpty() && found.size() < inputsPerCall) {
            long size = small.element().size().getAsLong();
            if (!found.isEmpty() && bytes + size > Request.INLINE_BYTES) {
                break;
            }
            bytes += size;
            found.add(small.remove());
        }
        smallBytes -= bytes;
        return found;
    }
}
