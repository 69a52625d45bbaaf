package dev.embedwire;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * Sends the batches of a run in a separate thread until the run ends. Batches with files are read and sent by further
 * threads, since a file may block.
 */
final class BatchSender implements Runnable {
    private final MapRun run;
    private final Connection connection;
    private final Calls calls;
    private final String model;
    private final MapOptions options;

    BatchSender(MapRun run, Connection connection, Calls calls, String model, MapOptions options) {
        this.run = run;
        this.connection = connection;
        this.calls = calls;
        this.model = model;
        this.options = options;
    }

    @Override
    public void run() {
        try {
            for (Optional<Batch> next = run.nextBatch(); next.isPresent(); next = run.nextBatch()) {
                Batch batch = next.get();
                if (batch.inputs().stream().anyMatch(MapInput::isInlineFile)) {
                    MapRun.thread(() -> send(batch), "embedwire-map-files").start();
                } else {
                    send(batch);
                }
            }
            run.timeOut();
        } catch (Throwable error) { // otherwise the run would never end
            run.stop(error);
        } finally {
            connection.remove(run);
        }
    }

    private void send(Batch batch) {
        try {
            start(batch);
        } catch (Throwable error) { // otherwise the run would never end
            run.stop(error);
        }
    }

    /** Starts a call. A file that cannot be read ends its own input only. */
    private void start(Batch batch) {
        var request = new Request(model, options.call);
        List<MapInput> sent = new ArrayList<>();
        for (MapInput input : batch.inputs()) {
            try {
                request.add(input.input(), input.size(), !input.isUpload());
                sent.add(input);
            } catch (Throwable error) {
                run.unreadable(input, error);
            }
        }
        Duration timeout = connection.timeout(options.call, request.defaultTimeout());
        long now = run.now();
        long deadline = batch.deadline();
        if (options.countWaits) {
            deadline = deadline == MapRun.NEVER ? now + timeout.toNanos() : deadline;
            timeout = Duration.ofNanos(Math.max(0, deadline - now));
        }
        var terms = connection.terms(CallKind.MAP, options.call, timeout);
        var call = new BatchCall(run, new Batch(sent, deadline), terms.requestId(), now);
        if (run.mayStart(call, sent)) {
            calls.start(CallKind.MAP, request, terms, options.call.chunkBytes, call);
        }
    }
}
