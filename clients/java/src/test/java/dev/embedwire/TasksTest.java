package dev.embedwire;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.embedwire.v1.ErrorReason;
import dev.embedwire.v1.ProcessingMode;
import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** Tasks and progress: what the conformance suite cannot see. */
class TasksTest {
    private static final Audio MELODY = Audio.of(Source.url("http://a.test/a"));

    /** embed and embedAsync report the stages to the function of the caller; a stream yields them and reports none. */
    @Test
    void progress() throws Exception {
        List<String> reported = new CopyOnWriteArrayList<>();
        var options = Options.builder()
                .onProgress(found -> reported.add(found.toString()))
                .build();
        try (var server = new FakeServer(TasksTest::embedInATask);
                var client = server.client().build()) {
            client.embed("m", MELODY, options);
            client.embedAsync("m", MELODY, options).get(10, TimeUnit.SECONDS);
            assertEquals(List.of("Progress[input 0, PROCESSING]", "Progress[input 0, PROCESSING]"), reported);
            try (var events = client.stream("m", List.of(MELODY), options)) {
                var first = (Progress) events.next();
                assertEquals(Progress.Stage.PROCESSING, first.stage());
                assertEquals("t-1", first.upstreamTaskId());
            }
            assertEquals(2, reported.size());
        }
    }

    /** The function may block, for instance in another call of the client. */
    @Test
    void progressThatCalls() throws Exception {
        try (var server = new FakeServer(TasksTest::embedInATask);
                var client = server.client().build()) {
            List<Embedding> found = new CopyOnWriteArrayList<>();
            var options = Options.builder()
                    .onProgress(progress -> found.add(client.embed("m", MELODY)))
                    .build();
            client.embed("m", MELODY, options);
            assertEquals(1, found.size());
        }
    }

    /** An exception of the function ends the call or the run, and is thrown there. */
    @Test
    void throwingProgress() throws Exception {
        var thrown = new IllegalStateException("of the caller");
        var options = Options.builder()
                .onProgress(progress -> {
                    throw thrown;
                })
                .build();
        try (var server = new FakeServer(call -> call.progress(0, "t-1"));
                var client = server.client().build()) {
            assertSame(thrown, assertThrows(IllegalStateException.class, () -> client.embed("m", MELODY, options)));
            var future = client.embedAsync("m", MELODY, options);
            var failed = assertThrows(ExecutionException.class, () -> future.get(10, TimeUnit.SECONDS));
            assertSame(thrown, failed.getCause());
            var run = MapOptions.builder().call(options).build();
            try (var embeddings = client.map("m", List.of(MELODY), run)) {
                assertSame(thrown, assertThrows(IllegalStateException.class, embeddings::hasNext));
            }
            for (FakeServer.Exchange call : server.calls) {
                call.isCancelled.get(10, TimeUnit.SECONDS);
            }
            assertEquals(3, server.calls.size());
        }
    }

    /** map does not send an input again if it has a task, also if only the failure of the call names it. */
    @Test
    void rejectedTasks() throws Exception {
        try (var server = new FakeServer(call -> call.reject("t-1"));
                var client = server.client().build();
                var embeddings = client.map("m", List.of(MELODY))) {
            Failure failure = embeddings.next().result().failure().orElseThrow();
            assertEquals("OVERLOADED", failure.reason());
            assertEquals("t-1", failure.upstreamTaskId());
            assertFalse(embeddings.hasNext());
            assertEquals(1, server.calls.size());
        }
    }

    /** If a call exceeds a limit, map splits it; an input with a task ends with that failure. */
    @Test
    void taskInACallThatIsSplit() throws Exception {
        try (var server = new FakeServer(call -> {
                    if (call.request.getInputsCount() > 1) {
                        call.progress(1, "t-1");
                        call.fail(Status.Code.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_RATE_LIMITED);
                    } else {
                        call.embed();
                    }
                });
                var client = server.client().build();
                var embeddings = client.map("m", List.of(MELODY, MELODY, MELODY))) {
            for (Embedding embedding : embeddings) {
                var failure = embedding.result().failure();
                assertEquals(embedding.result().inputIndex() == 1, failure.isPresent());
                failure.ifPresent(found -> assertEquals("t-1", found.upstreamTaskId()));
            }
            assertEquals(3, server.calls.size());
        }
    }

    /** Without a timeout, the deadline depends on the inputs. */
    @Test
    void defaultTimeouts() {
        var sync = MELODY.withProcessingMode(ProcessingMode.PROCESSING_MODE_SYNC);
        var image = Image.of(Source.asset("a"));
        assertEquals(Duration.ofMinutes(1), timeout(Text.of("a"), image));
        assertEquals(Duration.ofMinutes(10), timeout(image, sync, sync));
        assertEquals(Duration.ofHours(1), timeout(MELODY, sync));
        assertEquals(Duration.ofHours(1), timeout(Audio.of(Source.task("t-1"))));
        assertEquals(Duration.ofHours(1), timeout(MELODY.withProcessingMode(ProcessingMode.PROCESSING_MODE_TASK)));
    }

    private static Duration timeout(Input... inputs) {
        return Request.of("m", List.of(inputs), Options.DEFAULT).defaultTimeout();
    }

    /** Segmentations and options out of range are rejected where they are made. */
    @Test
    void invalidOptions() {
        assertThrows(IllegalArgumentException.class, () -> Segmentation.fixed(0));
        assertThrows(IllegalArgumentException.class, () -> Segmentation.dynamic(-1));
        assertThrows(IllegalArgumentException.class, Options.builder().dimensions(0)::build);
    }

    /** Neither inputs nor progress print identifiers and keys. */
    @Test
    void nothingPrintedShowsContent() {
        assertEquals("Image[asset]", Image.of(Source.asset("private")).toString());
        assertEquals("Audio[task]", Audio.of(Source.task("private")).toString());
    }

    private static void embedInATask(FakeServer.Exchange call) {
        call.progress(0, "t-1");
        call.embed();
    }
}
