package dev.embedwire;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonParser;
import com.google.protobuf.Any;
import dev.embedwire.v1.ErrorReason;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.protobuf.ProtoUtils;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What the conformance suite cannot see: refusals before anything is sent, and what is printed. */
class ClientTest {
    private static final String NOBODY = "127.0.0.1:1";

    /** The table of targets that all clients share says which are on this machine. */
    @ParameterizedTest
    @MethodSource
    void loopback(String target, boolean isLoopback) {
        assertEquals(isLoopback, Loopback.contains(target));
    }

    static Stream<Arguments> loopback() throws IOException {
        var table = JsonParser.parseString(Files.readString(Path.of("../loopback.json")))
                .getAsJsonObject();
        return table.getAsJsonArray("targets").asList().stream()
                .map(row -> row.getAsJsonArray())
                .map(row -> Arguments.of(row.get(0).getAsString(), row.get(1).getAsBoolean()));
    }

    /** Credentials are sent in plaintext to this machine only. The error does not repeat them. */
    @Test
    void secretsInPlainText() {
        assertDoesNotThrow(() ->
                EmbedwireClient.builder("localhost:1").token("tok").build().close());
        var token = EmbedwireClient.builder("embed.internal:1").token("tok-secret");
        var error = assertThrows(IllegalArgumentException.class, token::build);
        assertTrue(error.getMessage().startsWith("token: would be sent in plaintext"), error.getMessage());
        assertFalse(error.getMessage().contains("tok-secret"), error.getMessage());
        assertThrows(
                IllegalArgumentException.class,
                EmbedwireClient.builder("embed.internal:1").upstreamApiKey("key")::build);
    }

    /** Over TLS they go anywhere. */
    @Test
    void secretsGoOverTls() {
        var client = EmbedwireClient.builder("embed.internal:443").token("tok").tls(Tls.DEFAULT);
        assertDoesNotThrow(() -> client.build().close());
    }

    /** A target that is none is refused when the client is made, not with the first call. */
    @ParameterizedTest
    @ValueSource(strings = {"", " 127.0.0.1:1", "http://127.0.0.1:1", "https://embed.internal", "127.0.0.1:65536"})
    void targetsThatAreNone(String target) {
        assertThrows(IllegalArgumentException.class, EmbedwireClient.builder(target)::build);
    }

    /** Certificates and keys that are none are refused when the client is made. */
    @Test
    void certificatesThatAreNone() {
        byte[] none = "no certificate".getBytes(StandardCharsets.UTF_8);
        for (Tls tls : List.of(Tls.DEFAULT.withRootCertificates(none), Tls.DEFAULT.withClientCertificate(none, none))) {
            var error = assertThrows(
                    IllegalArgumentException.class,
                    EmbedwireClient.builder(NOBODY).tls(tls)::build);
            assertTrue(error.getMessage().startsWith("target or tls: "), error.getMessage());
        }
    }

    /** Invalid options are refused where they are built. */
    @Test
    void invalidOptions() {
        assertThrows(IllegalArgumentException.class, Options.builder().timeout(Duration.ofNanos(-1))::build);
        assertThrows(IllegalArgumentException.class, Options.builder().maxRetries(-1)::build);
        assertThrows(IllegalArgumentException.class, Options.builder().requestId("a b")::build);
        assertThrows(IllegalArgumentException.class, Options.builder().chunkBytes(0)::build);
        assertThrows(IllegalArgumentException.class, Options.builder().chunkBytes(16 << 20)::build);
    }

    /** A file that is not there is an I/O error, whose message names the field and not the path. */
    @Test
    void missingFile() {
        try (var client = EmbedwireClient.builder(NOBODY).build()) {
            var missing = Image.of(Source.path(Path.of("missing.png")));
            var error =
                    assertThrows(UncheckedIOException.class, () -> client.stream("m", List.of(Text.of("a"), missing)));
            assertEquals("inputs[1].image.source: cannot be read: no such file or directory", error.getMessage());
        }
    }

    /** Nothing that is printed shows content, keys, names or credentials. */
    @Test
    void nothingPrintedShowsContent() {
        var source = Source.path(Path.of("private.png")).withMediaType("image/private");
        var inputs = List.of(
                Text.of("private").withKey("private"),
                Image.of(source).withKey("private"),
                Audio.of(Source.url("http://private.test/")).withKey("private"));
        assertEquals("[Text[...], Image[path], Audio[url]]", inputs.toString());
        var failure = Failure.of(Status.Code.INTERNAL, ErrorReason.ERROR_REASON_UNSPECIFIED, "private");
        assertFalse(failure.toString().contains("private"), failure.toString());
    }

    /** An error that is serialized keeps all facts. */
    @Test
    void serialization() throws Exception {
        var failure = Failure.of(Status.Code.NOT_FOUND, ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND, "no such thing");
        var bytes = new ByteArrayOutputStream();
        try (var out = new ObjectOutputStream(bytes)) {
            out.writeObject(failure.exception("id", 2));
        }
        try (var in = new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray()))) {
            var read = (RequestException) in.readObject();
            assertEquals("RESOURCE_NOT_FOUND", read.reason());
            assertEquals("RESOURCE_NOT_FOUND: no such thing (request id id)", read.getMessage());
            assertEquals(2, read.attempts());
        }
    }

    /** The class of an error follows the group of its reason; without a reason it is one of the transport. */
    @ParameterizedTest
    @CsvSource({
        "0, 3, TransportException",
        "0, 14, TransportException",
        "1, 3, RequestException",
        "9, 4, DeadlineExceededException",
        "99, 7, RequestException",
        "100, 8, RefusedException",
        "199, 8, RefusedException",
        "200, 14, UpstreamException",
        "300, 13, GatewayException",
        "4000, 13, GatewayException"
    })
    void classes(int reason, int code, String name) {
        var message = dev.embedwire.v1.Failure.newBuilder().setCode(code).setReasonValue(reason);
        assertEquals(
                name, new Failure(message.build()).exception("", 0).getClass().getSimpleName());
    }

    /**
     * The code of a failed call, and whether it may be repeated, are those of its Failure: proxies change the status.
     */
    @Test
    void changedStatus() {
        var failure = dev.embedwire.v1.Failure.newBuilder()
                .setCode(Status.Code.RESOURCE_EXHAUSTED.value())
                .setReason(ErrorReason.ERROR_REASON_OVERLOADED);
        var details = com.google.rpc.Status.newBuilder().addDetails(Any.pack(failure.build()));
        var trailers = new Metadata();
        trailers.put(
                Metadata.Key.of(
                        "grpc-status-details-bin",
                        ProtoUtils.metadataMarshaller(com.google.rpc.Status.getDefaultInstance())),
                details.build());
        trailers.put(Metadata.Key.of("grpc-retry-pushback-ms", Metadata.ASCII_STRING_MARSHALLER), "5");
        var error = StatusDetails.exception(Status.CANCELLED, trailers, "");
        assertEquals("RESOURCE_EXHAUSTED", error.code());
        assertTrue(error instanceof RefusedException);
        assertEquals(Optional.of(Duration.ofMillis(5)), StatusDetails.pushback(Status.CANCELLED, trailers));
    }

    /** A thread that is interrupted while it waits stops waiting immediately, and stays interrupted. */
    @Test
    void interruption() {
        try (var client = EmbedwireClient.builder(NOBODY).waitForReady(true).build()) {
            Thread.currentThread().interrupt();
            var error = assertThrows(EmbedwireException.class, () -> client.embed("m", Text.of("a")));
            assertEquals("CANCELLED", error.code());
            assertTrue(Thread.interrupted());
        }
    }

    /** A stream may be closed while another thread waits for its next event, which then is the end. */
    @Test
    void closingFromAnotherThread() throws Exception {
        try (var client = EmbedwireClient.builder(NOBODY).waitForReady(true).build()) {
            var events = client.stream("m", List.of(Text.of("a")));
            var reader = CompletableFuture.supplyAsync(events::hasNext);
            events.close();
            assertFalse(reader.get(10, TimeUnit.SECONDS));
        }
    }

    /** The user agent names the version of the package. */
    @Test
    void version() {
        assertEquals(System.getProperty("project.version"), Connection.VERSION);
    }
}
