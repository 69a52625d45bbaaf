package dev.embedwire;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import dev.embedwire.v1.ErrorReason;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PipedInputStream;
import java.io.PipedOutputStream;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.function.IntFunction;
import java.util.function.Supplier;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What the conformance cases of map cannot see: threads, slow iterators and consumers, the end of a run. */
class MapTest {
    private static final MapOptions FOUR =
            MapOptions.builder().inputsPerCall(2).concurrentCalls(2).build();

    @TempDir
    Path folder;

    /** No test leaves a thread of a run or of an upload behind. */
    @AfterEach
    void noThreadsAreLeft() throws InterruptedException {
        await(() -> Thread.getAllStackTraces().keySet().stream()
                .noneMatch(thread -> thread.isAlive() && thread.getName().startsWith("embedwire-")));
    }

    /** Each input has one embedding, with its position, whatever the order of arrival. */
    @Test
    void positions() throws Exception {
        try (var server = FakeServer.embedding();
                var client = server.client().build();
                var embeddings = client.map("m", texts(100).toList())) {
            List<Integer> found = new ArrayList<>();
            for (Embedding embedding : embeddings) {
                found.add(embedding.result().inputIndex());
                assertEquals(
                        "k" + embedding.result().inputIndex(),
                        embedding.result().inputKey());
                assertEquals(
                        embedding.result().inputIndex(),
                        embedding.segments().get(0).inputIndex());
            }
            assertEquals(
                    IntStream.range(0, 100).boxed().toList(),
                    found.stream().sorted().toList());
            assertThrows(NoSuchElementException.class, embeddings::next);
        }
    }

    /** At most inputsPerCall * concurrentCalls inputs are read ahead of a slow consumer. */
    @Test
    void slowConsumer() throws Exception {
        var inputs = new Inputs(MapTest::text);
        try (var server = FakeServer.embedding();
                var client = server.client().build();
                var embeddings = client.map("m", inputs, FOUR)) {
            await(() -> inputs.read.get() == 4);
            for (int taken = 1; taken <= 20; taken++) {
                embeddings.next();
                int read = inputs.read.get();
                assertTrue(read <= taken + 4, read + " read, " + taken + " taken");
            }
        }
        await(() -> inputs.isClosed);
    }

    /** A blocked iterator does not delay the inputs before, although their group is not full. */
    @Test
    void blockedIterator() throws Exception {
        var isBlocked = new CountDownLatch(1);
        var inputs = new Inputs(position -> position == 0 ? text(0) : waitFor(isBlocked, text(position)));
        try (var server = FakeServer.embedding();
                var client = server.client().build();
                var embeddings = client.map("m", inputs, MapOptions.DEFAULT)) {
            assertEquals(0, embeddings.next().result().inputIndex());
            isBlocked.countDown();
            assertTrue(embeddings.hasNext());
        }
    }

    /** If the iterator throws, the inputs before are embedded, then its exception is thrown, each time. */
    @Test
    void throwingIterator() throws Exception {
        var mine = new IllegalStateException("mine");
        var inputs = new Inputs(position -> {
            if (position == 3) {
                throw mine;
            }
            return text(position);
        });
        try (var server = FakeServer.embedding();
                var client = server.client().build();
                var embeddings = client.map("m", inputs, MapOptions.DEFAULT)) {
            for (int taken = 0; taken < 3; taken++) {
                embeddings.next();
            }
            assertSame(mine, assertThrows(IllegalStateException.class, embeddings::hasNext));
            assertSame(mine, assertThrows(IllegalStateException.class, embeddings::next));
        }
        await(() -> inputs.isClosed);
    }

    /** A value that is no input ends the run likewise, with its position and without its content. */
    @Test
    @SuppressWarnings({"unchecked", "rawtypes"})
    void noInput() throws Exception {
        try (var server = FakeServer.embedding();
                var client = server.client().build()) {
            CloseableIterator<Embedding> embeddings = client.map("m", (List) List.of(text(0), "private"));
            assertEquals(0, embeddings.next().result().inputIndex());
            var error = assertThrows(IllegalArgumentException.class, embeddings::hasNext);
            assertEquals("inputs[1]: must be a Text, an Image or an Audio, got java.lang.String", error.getMessage());
        }
    }

    /** Closing a run early cancels its calls, ends its threads and closes the iterator. */
    @Test
    void abandoned() throws Exception {
        var inputs = new Inputs(MapTest::text);
        try (var server = new FakeServer(call -> call.answer(0));
                var client = server.client().build()) {
            var embeddings = client.map("m", inputs, FOUR);
            embeddings.next();
            embeddings.close();
            assertFalse(embeddings.hasNext());
            assertThrows(NoSuchElementException.class, embeddings::next);
            for (var call : server.calls) {
                call.isCancelled.get(30, TimeUnit.SECONDS);
            }
            await(() -> inputs.isClosed);
        }
    }

    /** An interrupt ends the wait of the consumer and the run; the thread stays interrupted. */
    @Test
    void interrupted() throws Exception {
        try (var server = new FakeServer(call -> {});
                var client = server.client().build()) {
            var embeddings = client.map("m", texts(1).toList());
            Thread.currentThread().interrupt();
            assertEquals(
                    "CANCELLED",
                    assertThrows(RequestException.class, embeddings::hasNext).code());
            assertTrue(Thread.interrupted());
            assertFalse(embeddings.hasNext());
        }
    }

    /** Closing the client ends a run immediately, also one that waits for the iterator only. */
    @Test
    void closedClient() throws Exception {
        var isBlocked = new CountDownLatch(1);
        try (var server = FakeServer.embedding()) {
            var client = server.client().build();
            var embeddings =
                    client.map("m", new Inputs(position -> waitFor(isBlocked, text(position))), MapOptions.DEFAULT);
            var consumer = CompletableFuture.supplyAsync(embeddings::hasNext);
            client.close();
            assertThrows(ExecutionException.class, () -> consumer.get(30, TimeUnit.SECONDS));
            assertEquals(
                    "the client is closed",
                    assertThrows(IllegalStateException.class, embeddings::next).getMessage());
            assertThrows(IllegalStateException.class, () -> client.map("m", texts(1).toList()));
        }
    }

    /** At the timeout of the run inputs without a result fail, although the iterator is blocked. */
    @Test
    void runTimeout() throws Exception {
        var isBlocked = new CountDownLatch(1);
        var inputs = new Inputs(position -> position == 0 ? text(0) : waitFor(isBlocked, text(position)));
        var options = MapOptions.builder().runTimeout(Duration.ofMillis(300)).build();
        try (var server = new FakeServer(call -> {});
                var client = server.client().build();
                var embeddings = client.map("m", inputs, options)) {
            var failure = embeddings.next().result().failure().orElseThrow();
            assertEquals("DEADLINE_EXCEEDED", failure.reason());
            assertThrows(DeadlineExceededException.class, embeddings::hasNext);
        }
    }

    /** A large file is sent again after a rejection, with the same bytes. */
    @Test
    void fileSentAgain() throws Exception {
        byte[] data = new byte[3 << 20];
        new Random(1).nextBytes(data);
        Path file = Files.write(folder.resolve("a"), data);
        try (var server = new FakeServer(call -> {
                    if (call.number == 0) {
                        var unused = call.hasContent.thenRun(call::reject);
                    } else {
                        call.embed();
                    }
                });
                var client = server.client().build();
                var embeddings = client.map("m", List.of(Image.of(Source.path(file))))) {
            assertEquals(1, embeddings.next().vector().length);
            assertEquals(2, server.calls.size());
            assertEquals(ByteString.copyFrom(data), server.calls.get(1).content);
        }
    }

    /** Inputs that are rejected are sent again although another call does not end. */
    @Test
    void slowCall() throws Exception {
        var stream = Source.stream(InputStream.nullInputStream());
        var rejected = new AtomicInteger();
        try (var server = new FakeServer(call -> {
                    if (call.request.getInputs(0).hasText()) {
                        if (rejected.getAndIncrement() == 0) {
                            call.reject();
                        } else {
                            call.embed();
                        }
                    } // the upload is not answered
                });
                var client = server.client().build();
                var embeddings = client.map("m", slowThen(server, Image.of(stream)), MapOptions.DEFAULT)) {
            assertEquals(1, embeddings.next().result().inputIndex());
        }
    }

    /** Also calls that fail raise the number of calls after an overload, if the server has worked on them. */
    @Test
    void answeredFailure() throws Exception {
        var options = MapOptions.builder().inputsPerCall(1).concurrentCalls(2).build();
        try (var server = new FakeServer(call -> {});
                var client = server.client().build();
                var embeddings = client.map("m", texts(3).toList(), options)) {
            await(() -> server.calls.size() == 2 && isWaiting("embedwire-map-sender"));
            server.calls.get(1).reject(Duration.ofDays(1)); // one call is left
            server.calls.get(0).fail(Status.Code.INVALID_ARGUMENT, ErrorReason.ERROR_REASON_INPUT_REJECTED);
            assertTrue(embeddings.next().result().failure().isPresent());
            await(() -> server.calls.size() == 4); // two are running again
        }
    }

    private static boolean isWaiting(String name) {
        return Thread.getAllStackTraces().keySet().stream()
                .anyMatch(thread -> thread.getName().equals(name) && thread.getState() == Thread.State.WAITING);
    }

    /** An upload, and when its call is running a text. */
    private static Iterator<Input> slowThen(FakeServer server, Input upload) {
        return Stream.<Supplier<Input>>of(() -> upload, () -> {
                    while (server.calls.isEmpty()) {
                        Thread.onSpinWait();
                    }
                    return text(1);
                })
                .map(Supplier::get)
                .iterator();
    }

    /** A pipe and a stream of which bytes were read end with the rejection, and are not sent twice. */
    @Test
    void readOnce() throws Exception {
        Path pipe = folder.resolve("pipe");
        assertEquals(0, new ProcessBuilder("mkfifo", pipe.toString()).start().waitFor());
        byte[] data = new byte[1 << 20];
        var writer = CompletableFuture.runAsync(() -> {
            try (var out = Files.newOutputStream(pipe)) {
                out.write(data);
            } catch (IOException error) {
                // the reader has closed it, as it should
            }
        });
        var stream = Source.stream(new ByteArrayInputStream(data));
        try (var server = new FakeServer(call -> call.hasContent.thenRun(call::reject));
                var client = server.client().build();
                var embeddings =
                        client.map("m", List.of(Image.of(Source.path(pipe)), Image.of(stream.withFileName("s"))))) {
            for (Embedding embedding : embeddings) {
                assertEquals(
                        "OVERLOADED", embedding.result().failure().orElseThrow().reason());
            }
            assertEquals(2, server.calls.size());
        }
        writer.get(30, TimeUnit.SECONDS);
    }

    /** A run can be closed while the stream of an upload is blocked; it is not read after that. */
    @Test
    void blockedUpload() throws Exception {
        var isBlocked = new CountDownLatch(1);
        var reads = new AtomicInteger();
        var stream = new InputStream() {
            @Override
            public int read() {
                return reads.getAndIncrement() == 0 ? 1 : waitStubbornlyFor(isBlocked, 1);
            }
        };
        var options = MapOptions.builder()
                .call(Options.builder().chunkBytes(1).build())
                .build();
        try (var server = new FakeServer(call -> {});
                var client = server.client().build()) {
            var embeddings = client.map("m", List.of(Image.of(Source.stream(stream))), options);
            await(() -> reads.get() == 2 && !server.calls.isEmpty());
            embeddings.close();
            server.calls.get(0).isCancelled.get(30, TimeUnit.SECONDS);
        } finally {
            isBlocked.countDown();
        }
        noThreadsAreLeft();
        assertEquals(2, reads.get());
    }

    /** A read that can be interrupted ends with the run. */
    @Test
    void interruptibleUpload() throws Exception {
        try (var server = new FakeServer(call -> {});
                var client = server.client().build();
                var stream = new PipedInputStream(new PipedOutputStream())) {
            var embeddings = client.map("m", List.of(Image.of(Source.stream(stream))));
            await(() -> !server.calls.isEmpty());
            embeddings.close();
            noThreadsAreLeft();
        }
    }

    /** A source that throws ends its own input only. */
    @Test
    void throwingSource() throws Exception {
        var broken = new InputStream() {
            @Override
            public int read() {
                throw new UnsupportedOperationException("private");
            }
        };
        try (var server = FakeServer.embedding();
                var client = server.client().build();
                var embeddings = client.map("m", List.of(Audio.of(Source.stream(broken)), text(1)))) {
            for (Embedding embedding : embeddings) {
                boolean isBroken = embedding.result().inputIndex() == 0;
                assertEquals(isBroken, embedding.result().failure().isPresent());
                embedding.result().failure().ifPresent(failure -> {
                    assertEquals(
                            "inputs[0].audio.source: cannot be read: input/output error"
                                    + " (UnsupportedOperationException)",
                            failure.message());
                    assertEquals(
                            "inputs[0].audio.source",
                            failure.violations().get(0).getField());
                });
            }
        }
    }

    /** A file whose size cannot be found ends its own input only, whatever is thrown. */
    @Test
    void throwingSize() throws Exception {
        Path file;
        try (var files = FileSystems.newFileSystem(folder.resolve("a.zip"), Map.of("create", "true"))) {
            file = files.getPath("a");
        }
        try (var server = FakeServer.embedding();
                var client = server.client().build();
                var embeddings = client.map("m", List.of(text(0), Image.of(Source.path(file)), text(2)))) {
            List<String> failures = new ArrayList<>();
            for (Embedding embedding : embeddings) {
                embedding.result().failure().ifPresent(failure -> failures.add(failure.message()));
            }
            assertEquals(
                    List.of("inputs[1].image.source: cannot be read: input/output error (ClosedFileSystemException)"),
                    failures);
        }
    }

    /** A small file that blocks does not delay the calls of other inputs. */
    @Test
    void blockedFile() throws Exception {
        Path file = Files.write(folder.resolve("a"), new byte[1]);
        Path pipe = folder.resolve("pipe");
        assertEquals(0, new ProcessBuilder("mkfifo", pipe.toString()).start().waitFor());
        var isBlocked = new CompletableFuture<Void>();
        Input upload = Image.of(Source.data(new byte[(1 << 20) + 1]));
        var inputs = Stream.<Supplier<Input>>of(
                () -> upload,
                () -> upload,
                () -> Image.of(Source.path(file)), // which waits for a place
                () -> {
                    moveOver(pipe, file); // its size is known by now
                    isBlocked.complete(null);
                    return upload;
                });
        try (var server = new FakeServer(call -> {
                    var unused = isBlocked.thenRun(call::embed);
                });
                var client = server.client().build();
                var embeddings = client.map("m", inputs.map(Supplier::get).iterator(), FOUR)) {
            for (int taken = 0; taken < 3; taken++) {
                assertTrue(embeddings.next().result().failure().isEmpty());
            }
            try (var writer = new RandomAccessFile(file.toFile(), "rw")) { // of the pipe; does not wait for a reader
                writer.write(new byte[2]);
                assertEquals(
                        "inputs[2].image.source: cannot be read: the file became larger while it was read",
                        embeddings.next().result().failure().orElseThrow().message());
            }
        }
    }

    private static void moveOver(Path from, Path to) {
        try {
            Files.move(from, to, StandardCopyOption.REPLACE_EXISTING);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    /** An error of an interceptor ends the run, and is not taken for one of a file. */
    @Test
    void throwingInterceptor() throws Exception {
        var mine = new IllegalStateException("mine");
        var interceptor = new ClientInterceptor() {
            @Override
            public <Q, A> ClientCall<Q, A> interceptCall(
                    MethodDescriptor<Q, A> method, CallOptions call, Channel next) {
                throw mine;
            }
        };
        var upload = Image.of(Source.stream(InputStream.nullInputStream()));
        try (var client = EmbedwireClient.builder("127.0.0.1:1")
                        .interceptors(interceptor)
                        .build();
                var embeddings = client.map("m", List.of(upload))) {
            assertSame(mine, assertThrows(IllegalStateException.class, embeddings::hasNext));
        }
    }

    /** Invalid options are refused where they are built. */
    @Test
    void invalidOptions() {
        for (var options : List.of(
                MapOptions.builder().inputsPerCall(0),
                MapOptions.builder().inputsPerCall(257),
                MapOptions.builder().concurrentCalls(0),
                MapOptions.builder().concurrentCalls(1001),
                MapOptions.builder().runTimeout(Duration.ofNanos(-1)),
                MapOptions.builder().call(Options.builder().requestId("a").build()))) {
            assertThrows(IllegalArgumentException.class, options::build);
        }
    }

    private static Text text(int position) {
        return Text.of("text").withKey("k" + position);
    }

    private static Stream<Text> texts(int count) {
        return IntStream.range(0, count).mapToObj(MapTest::text);
    }

    private static void await(BooleanSupplier condition) throws InterruptedException {
        while (!condition.getAsBoolean()) {
            TimeUnit.MILLISECONDS.sleep(1); // the timeout of all tests ends it
        }
    }

    /** Returns the value after the latch, or when the run interrupts its reader. */
    private static <T> T waitFor(CountDownLatch latch, T value) {
        try {
            latch.await();
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
        return value;
    }

    /** The same in spite of interrupts. */
    private static <T> T waitStubbornlyFor(CountDownLatch latch, T value) {
        while (latch.getCount() > 0) {
            waitFor(latch, value);
            var unused = Thread.interrupted();
        }
        return value;
    }

    /** An endless iterator that counts what was read, and can be closed. */
    private static final class Inputs implements Iterator<Input>, AutoCloseable {
        private final IntFunction<Input> make;
        private final AtomicInteger read = new AtomicInteger();
        private volatile boolean isClosed;

        Inputs(IntFunction<Input> make) {
            this.make = make;
        }

        @Override
        public boolean hasNext() {
            return true;
        }

        @Override
        public Input next() {
            return make.apply(read.getAndIncrement());
        }

        @Override
        public void close() {
            isClosed = true;
        }
    }
}
