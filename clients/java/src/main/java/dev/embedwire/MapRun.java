package dev.embedwire;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
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
 * takes embeddings, which come in gRPC's threads. They share this object and its lock.
 */
final class MapRun extends BlockingIterator<Embedding> {
    static final long NEVER = Long.MAX_VALUE;

    private final Connection connection;
    private final Calls calls;
    private final String model;
    private final MapOptions options;
    private final Thread reader;
    private final Thread sender;
    private final long began = System.nanoTime();
    private final Pacing pacing;
    private final InputQueue queue;
    private final Map<Integer, MapInput> open = new TreeMap<>(); // read, and without an embedding
    private final Set<BatchCall> running = new HashSet<>();
    private int ahead; // inputs whose embedding was not taken
    private boolean isRead; // the iterator has ended
    private Optional<Throwable> readFailure = Optional.empty();

    MapRun(Connection connection, Calls calls, String model, Iterator<?> inputs, MapOptions options) {
        super("");
        this.connection = connection;
        this.calls = calls;
        this.model = model;
        this.options = options;
        this.pacing = new Pacing(options);
        this.queue = new InputQueue(options.inputsPerCall);
        this.reader = thread(new InputReader(this, inputs), "embedwire-map-reader");
        this.sender = thread(this::sendAll, "embedwire-map-sender");
    }

    private static Thread thread(Runnable task, String name) {
        var thread = new Thread(TraceContext.wrap(task), name);
        thread.setDaemon(true);
        return thread;
    }

    void start() {
        reader.start();
        sender.start();
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

    /** Adds an input. One that cannot be read has ended. */
    synchronized void add(MapInput input, Optional<IOException> error) {
        ahead++;
        open.put(input.position(), input);
        error.ifPresentOrElse(found -> fail(input, MapFailures.unreadable(input, found)), () -> queue.add(input));
        notifyAll();
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

    /** A call has ended. Some of its inputs are sent again, the last of the batches first. */
    synchronized void ended(BatchCall call, boolean isOk, Rejection rejection, List<Batch> again) {
        running.remove(call);
        if (!rejection.equals(Rejection.NONE)) {
            pacing.rejected(rejection, call.sentAt(), running.size(), now());
        } else if (isOk) {
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

    private void sendAll() {
        try {
            for (Optional<Batch> next = nextBatch(); next.isPresent(); next = nextBatch()) {
                send(next.get());
            }
            timeOut();
        } catch (InterruptedException | RuntimeException error) {
            stop(error);
        } finally {
            connection.remove(this);
        }
    }

    /** Waits for inputs that may be sent; empty at the end of the run, and when its deadline has passed. */
    private synchronized Optional<Batch> nextBatch() throws InterruptedException {
        while (!isOver() && now() < pacing.runEnd()) {
            long now = now();
            queue.expired(now).forEach(this::fail);
            if (pacing.hasPlace(running.size(), now) && now >= pacing.pausedUntil()) {
                Optional<Batch> batch = queue.take(now, isRead);
                if (batch.isPresent()) {
                    return batch;
                }
            }
            long due = Math.max(pacing.placeAt(running.size()), queue.due(isRead));
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
    private void timeOut() {
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

    /** Sends a call. A file that cannot be read ends its own input only. */
    private void send(Batch batch) {
        var request = new Request(model, options.call);
        List<MapInput> sent = new ArrayList<>();
        for (MapInput input : batch.inputs()) {
            try {
                request.add(input.input(), input.size(), !input.isUpload());
                sent.add(input);
            } catch (IOException | RuntimeException error) {
                fail(input, MapFailures.unreadable(input, error));
            }
        }
        Duration timeout = connection.timeout(options.call, request.defaultTimeout());
        long now = now();
        long deadline = batch.deadline();
        if (options.countWaits) {
            deadline = deadline == NEVER ? now + timeout.toNanos() : deadline;
            timeout = Duration.ofNanos(Math.max(0, deadline - now));
        }
        var terms = connection.terms(CallKind.MAP, options.call, timeout);
        var call = new BatchCall(this, new Batch(sent, deadline), terms.requestId(), now);
        synchronized (this) {
            if (isOver() || sent.isEmpty()) {
                return;
            }
            running.add(call);
        }
        calls.start(CallKind.MAP, request, terms, options.call.chunkBytes, call);
    }
}
