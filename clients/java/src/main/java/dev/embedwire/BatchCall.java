package dev.embedwire;

import dev.embedwire.v1.ErrorReason;
import dev.embedwire.v1.Failure;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.Flow;
import java.util.stream.Stream;

/** One call of a run. Each of its inputs ends with an embedding, or is sent again. */
final class BatchCall implements Flow.Subscriber<Event> {
    private final MapRun run;
    private final Batch batch;
    private final String requestId;
    private final long sentAt;
    private final Collector collector = new Collector();
    private final Map<Integer, MapInput> pending = new TreeMap<>();
    private final List<MapInput> sentAgain = new ArrayList<>();
    private Rejection rejection = Rejection.NONE;
    private Optional<Flow.Subscription> call = Optional.empty();
    private boolean isCancelled;

    BatchCall(MapRun run, Batch batch, String requestId, long sentAt) {
        this.run = run;
        this.batch = batch;
        this.requestId = requestId;
        this.sentAt = sentAt;
        for (int index = 0; index < batch.inputs().size(); index++) {
            pending.put(index, batch.inputs().get(index));
        }
    }

    long sentAt() {
        return sentAt;
    }

    synchronized void cancel() {
        isCancelled = true;
        call.ifPresent(Flow.Subscription::cancel);
    }

    @Override
    public void onSubscribe(Flow.Subscription subscription) {
        synchronized (this) {
            call = Optional.of(subscription);
            if (isCancelled) {
                subscription.cancel();
            }
        }
        subscription.request(Long.MAX_VALUE);
    }

    @Override
    public void onNext(Event event) {
        if (event instanceof Progress progress) {
            report(progress);
        } else {
            collector.add(event).ifPresent(this::ended);
        }
    }

    private void report(Progress progress) {
        try {
            run.progress(batch.inputs().get(progress.inputIndex()), progress);
        } catch (RuntimeException | Error error) { // of the caller's function
            run.stop(error);
        }
    }

    @Override
    public void onComplete() {
        pending.values().forEach(input -> fail(input, MapFailures.missing(), 0));
        finish(true, new ArrayList<>());
    }

    @Override
    public void onError(Throwable error) {
        List<Batch> again = new ArrayList<>();
        boolean isAnswered = false;
        if (error instanceof EmbedwireException failed) {
            isAnswered = isAnswered(failed.failure().toProto().getReason());
            again.addAll(failed(failed.failure().toProto(), failed.attempts()));
        } else if (error instanceof UncheckedIOException unreadable) {
            pending.values().forEach(input -> fail(input, MapFailures.unreadable(input, unreadable), 0));
        } else { // an interceptor has thrown it, or the client is closed
            run.stop(error);
        }
        finish(isAnswered, again);
    }

    private void finish(boolean isAnswered, List<Batch> again) {
        if (!sentAgain.isEmpty()) {
            again.add(new Batch(sentAgain, batch.deadline()));
        }
        run.ended(this, isAnswered, rejection, again);
    }

    private void ended(Embedding embedding) {
        MapInput input = pending.remove(embedding.result().inputIndex());
        if (input == null) {
            return; // a second result of one input
        }
        var result = embedding.result().toProto().toBuilder().setInputIndex(input.position());
        if (result.hasFailure()) {
            var renamed = new dev.embedwire.Failure(MapFailures.renamed(result.getFailure(), batch.inputs()));
            result.setFailure(renamed.withTask(run.task(input)).toProto());
            if (isSentAgain(input, result.getFailure())) {
                return;
            }
        }
        run.deliver(new Embedding(
                new Result(result.build(), requestId),
                embedding.segments().stream()
                        .map(each -> each.at(input.position()))
                        .toList()));
    }

    /** Ends the inputs without a result after a failed call. Returns the batches to send again. */
    private List<Batch> failed(Failure failure, int attempts) {
        var renamed = MapFailures.renamed(failure, batch.inputs());
        if (isTooLarge(failure) && pending.size() > 1) {
            List<MapInput> left = pending.values().stream()
                    .filter(input -> !endsWithTask(input, renamed, attempts))
                    .toList();
            int half = left.size() / 2;
            return Stream.of(left.subList(half, left.size()), left.subList(0, half))
                    .filter(inputs -> !inputs.isEmpty())
                    .map(inputs -> new Batch(inputs, batch.deadline()))
                    .toList();
        }
        var named =
                batch.inputs().size() > 1 ? MapFailures.ofNamed(failure, batch.inputs()) : Map.<Integer, Failure>of();
        pending.forEach((index, input) -> {
            if (named.isEmpty()) {
                if (!isSentAgain(input, renamed)) {
                    fail(input, renamed, attempts);
                }
            } else if (named.containsKey(index)) {
                fail(input, named.get(index), attempts);
            } else if (!endsWithTask(input, renamed, attempts)) {
                sentAgain.add(input);
            }
        });
        return List.of();
    }

    /** Ends an input that has a task, of which another call would create a second one. Returns whether it has one. */
    private boolean endsWithTask(MapInput input, Failure failure, int attempts) {
        boolean hasTask = !run.task(input).isEmpty();
        if (hasTask) {
            fail(input, failure, attempts);
        }
        return hasTask;
    }

    /** Returns whether the server rejected an input that can be sent again: it is not spent, and has no task. */
    private boolean isSentAgain(MapInput input, Failure failure) {
        if (!Rejection.isOne(failure)) {
            return false;
        }
        rejection = rejection.and(failure);
        boolean hasTask =
                !failure.getUpstreamTaskId().isEmpty() || !run.task(input).isEmpty();
        return !hasTask && !input.isSpent() && sentAgain.add(input);
    }

    private void fail(MapInput input, Failure failure, int attempts) {
        run.fail(input, failure, attempts, requestId);
    }

    /** Returns whether the server worked on a failed call. A call that gRPC ended has none of the other reasons. */
    static boolean isAnswered(ErrorReason reason) {
        return switch (reason) {
            case ERROR_REASON_UNSPECIFIED, ERROR_REASON_DEADLINE_EXCEEDED, ERROR_REASON_CANCELLED -> false;
            case ERROR_REASON_OVERLOADED, ERROR_REASON_RATE_LIMITED, ERROR_REASON_DRAINING -> false;
            default -> true;
        };
    }

    private static boolean isTooLarge(Failure failure) {
        return failure.getReason() == ErrorReason.ERROR_REASON_RATE_LIMITED && !Rejection.isOne(failure);
    }
}
