package dev.embedwire;

import java.util.HashMap;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;

/**
 * A run of {@link EmbedwireClient#map}. One thread reads inputs, one forms batches and sends calls, and the caller's
 * thread receives embeddings, which arrive in gRPC's threads. Batches with files are read and sent by separate threads,
 * since files block. All threads share this object and its lock.
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
    private final Map<Integer, String> tasks = new HashMap<>(); // of open inputs, by position, as known from progress
    private final Set<BatchCall> running = new HashSet<>();
    private int encoding; // calls that are not running yet, because their files are read
    private int ahead; // inputs whose embedding was not returned yet
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

    /** Returns a thread of a run, in the trace context of this one. */
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

    /** Returns the time since the run began, in nanoseconds. */
    long now() {
        return System.nanoTime() - began;
    }

    /** Waits until a further input may be read; false if the run is over. */
    synchronized boolean awaitRoom() throws InterruptedException {
        while (!isOver() && ahead >= options.inputsPerCall * options.concurrentCalls) {
            wait();
        }
        return !isOver();
    }

    /** Registers an input that was read. It will end with an embedding, even if it is not measured yet. */
    synchronized void open(MapInput input) {
        ahead++;
        open.put(input.position(), input);
    }

    /** Adds an open input to the queue. */
    synchronized void enqueue(MapInput input) {
        queue.add(input);
        notifyAll();
    }

    /** Ends an input whose file cannot be read. */
    void unreadable(MapInput input, Throwable error) {
        fail(input, MapFailures.unreadable(input, error));
    }

    synchronized void inputsEnded(Optional<Throwable> error) {
        isRead = true;
        readFailure = error;
        endIfComplete();
        notifyAll();
    }

    /** Ends an input with its embedding. */
    synchronized void deliver(Embedding embedding) {
        if (open.remove(embedding.result().inputIndex()) != null) {
            tasks.remove(embedding.result().inputIndex());
            add(embedding);
            endIfComplete();
        }
    }

    private void fail(MapInput input, dev.embedwire.v1.Failure failure) {
        fail(input, failure, 0, "");
    }

    /** Ends an input that has no result with a failure, which gets the task of the input. */
    synchronized void fail(MapInput input, dev.embedwire.v1.Failure failure, int attempts, String requestId) {
        var found = new Failure(failure).withTask(task(input)).toProto();
        deliver(MapFailures.embedding(input, found, attempts, requestId));
    }

    /** Returns the identifier of the upstream's task of an open input; empty if there is none. */
    synchronized String task(MapInput input) {
        return tasks.getOrDefault(input.position(), "");
    }

    /** Notes the task of an input, and reports its progress with its position. */
    void progress(MapInput input, Progress progress) {
        synchronized (this) {
            if (isOver() || !open.containsKey(input.position())) {
                return;
            }
            if (!progress.upstreamTaskId().isEmpty()) {
                tasks.put(input.position(), progress.upstreamTaskId());
            }
        }
        options.call.onProgress.ifPresent(function -> function.accept(progress.at(input.position())));
    }

    private void endIfComplete() {
        if (isRead && open.isEmpty()) {
            end(readFailure);
        }
    }

    /** Returns whether a call with these inputs, which {@link #nextBatch} returned, may be started. */
    synchronized boolean mayStart(BatchCall call, List<MapInput> inputs) {
        encoding--;
        notifyAll();
        return !isOver() && !inputs.isEmpty() && running.add(call);
    }

    /**
     * Records the end of a call, and whether the server worked on it. The batches are sent again, the last one first.
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

    /** Ends the run with an error, without embeddings for the inputs that have not ended. */
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
     * Waits for a batch that may be sent, and counts it as a call. Returns empty at the end of the run or at its
     * deadline.
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
