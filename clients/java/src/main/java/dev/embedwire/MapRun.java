package dev.embedwire;

import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;

/**
 * A run of {@link EmbedwireClient#map}. One thread reads inputs, one forms groups and sends calls, and the caller's
 * takes embeddings, which come in gRPC's threads. A group with files is read and sent by a thread of its own, since
 * files block. They share this object and its lock.
 */
final class MapRun extends CloseableIterator<Embedding> {
    static final long NEVER = Long.MAX_VALUE;

    private final Connection connection;
    private final MapOptions options;
    private final Thread reader;
    private final Thread sender;
    private final long began = System.nanoTime();
    private final Pacing pacing;
    private final InputQueue queue;
    private final Map<Integer, MapInput> open = new TreeMap<>(); // read, and without an embedding
    private final Set<BatchCall> running = new HashSet<>();
    private int encoding; // calls that are not running yet, because their files are read
    private int ahead; // inputs whose embedding was not taken
    private boolean isRead; // the iterator has ended
    private Optional<Throwable> readFailure = Optional.empty();

    MapRun(Connection connection, Calls calls, String model, Iterator<?> inputs, MapOptions options) {
        super("");
        this.connection = connection;
        this.options = options;
        this.pacing = new Pacing(options);
        this.queue = new InputQueue(options.inputsPerCall);
        this.reader = thread(new InputReader(this, inputs), "embedwire-map-reader");
        this.sender = thread(new BatchSender(this, connection, calls, model, options), "embedwire-map-sender");
    }

    /** A thread of a run, in the trace context of this one. */
    static Thread thread(Runnable task, String name) {
        var thread = new Thread(TraceContext.wrap(task), name);
        thread.setDaemon(true);
        return thread;
    }

    void start() {
        try {
            sender.start();
            reader.start();
        } catch (Error error) { // there are too many threads
            stop(error);
            connection.remove(this);
            throw error;
        }
    }

    /** The time since the run began, in nanoseconds. */
    long now() {
        return System.nanoTime() - began;
    }

    /** Waits until a further input may be read; false if none is wanted any more. */
    synchronized boolean awaitRoom() throws InterruptedException {
        while (!isOver() && ahead >= options.inputsPerCall * options.concurrentCalls) {
            wait();
        }
        return !isOver();
    }

    /** An input was read. From then on it gets an embedding, also if its size is not known in time. */
    synchronized void open(MapInput input) {
        ahead++;
        open.put(input.position(), input);
    }

    /** Adds an open input to those that wait to be sent. */
    synchronized void enqueue(MapInput input) {
        queue.add(input);
        notifyAll();
    }

    /** An input has ended, because its file cannot be read. */
    void unreadable(MapInput input, Throwable error) {
        fail(input, MapFailures.unreadable(input, error));
    }

    synchronized void inputsEnded(Optional<Throwable> error) {
        isRead = true;
        readFailure = error;
        endIfComplete();
        notifyAll();
    }

    /** An input has ended. */
    synchronized void deliver(Embedding embedding) {
        if (open.remove(embedding.result().inputIndex()) != null) {
            add(embedding);
            endIfComplete();
        }
    }

    private void fail(MapInput input, dev.embedwire.v1.Failure failure) {
        deliver(MapFailures.embedding(input, failure, 0, ""));
    }

    private void endIfComplete() {
        if (isRead && open.isEmpty()) {
            end(readFailure);
        }
    }

    /** Says whether a call with these inputs, which {@link #nextBatch} gave, may be started. */
    synchronized boolean mayStart(BatchCall call, List<MapInput> inputs) {
        encoding--;
        notifyAll();
        return !isOver() && !inputs.isEmpty() && running.add(call);
    }

    /**
     * A call has ended, and the server has worked on it or not. Some of its inputs are sent again, the last of the
     * batches first.
     */
    synchronized void ended(BatchCall call, boolean isAnswered, Rejection rejection, List<Batch> again) {
        running.remove(call);
        if (!rejection.equals(Rejection.NONE)) {
            pacing.rejected(rejection, call.sentAt(), running.size(), now());
        } else if (isAnswered) {
            pacing.succeeded();
        }
        for (Batch batch : again) {
            if (pacing.pausedUntil() > batch.deadline()) {
                fail(batch);
            } else {
                queue.addFirst(batch);
            }
        }
        notifyAll();
    }

    /** Ends the run with an error. Inputs that have not ended get no embedding. */
    void stop(Throwable error) {
        if (end(Optional.of(error))) {
            stopped();
        }
    }

    @Override
    void stopped() {
        List<BatchCall> cancelled;
        synchronized (this) {
            cancelled = List.copyOf(running);
        }
        reader.interrupt();
        cancelled.forEach(BatchCall::cancel);
    }

    @Override
    synchronized void taken() {
        ahead--;
        notifyAll();
    }

    /**
     * Waits for inputs that may be sent, and counts them as a call; empty at the end of the run, and when its deadline
     * has passed.
     */
    synchronized Optional<Batch> nextBatch() throws InterruptedException {
        while (!isOver() && now() < pacing.runEnd()) {
            long now = now();
            queue.expired(now).forEach(this::fail);
            int calls = running.size() + encoding;
            if (pacing.hasPlace(calls, now) && now >= pacing.pausedUntil()) {
                Optional<Batch> batch = queue.take(now, isRead);
                if (batch.isPresent()) {
                    encoding++;
                    return batch;
                }
            }
            long due = Math.max(pacing.placeAt(calls), queue.due(isRead));
            due = Math.min(Math.min(due, queue.deadline()), pacing.runEnd());
            if (due == NEVER) {
                wait();
            } else {
                TimeUnit.NANOSECONDS.timedWait(this, due - now);
            }
        }
        return Optional.empty();
    }

    /** Ends the run because its deadline has passed, unless it has ended. */
    void timeOut() {
        var late = MapFailures.late("the timeout of the run has passed");
        synchronized (this) {
            if (isOver()) {
                return;
            }
            readFailure = Optional.of(new Failure(late).exception("", 0));
            List.copyOf(open.values()).forEach(input -> fail(input, late));
            end(readFailure);
        }
        stopped();
    }

    private void fail(Batch batch) {
        var late = MapFailures.late("the deadline of the input passed while it waited after a rejection");
        batch.inputs().forEach(input -> fail(input, late));
    }
}
