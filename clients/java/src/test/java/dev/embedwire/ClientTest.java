package dev.embedwire;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What the conformance suite cannot see: refusals before anything is sent, and what is printed. */
class ClientTest {
    private static final String NOBODY = "127.0.0.1:1";

    /** Credentials go to this machine in plain text, however it is spelled. */
    @ParameterizedTest
    @ValueSource(strings = {"localhost:1", "127.0.0.1:1", "127.9.8.7", "[::1]:1", "dns:///localhost:1", "LOCALHOST"})
    void secretsGoToThisMachine(String target) {
        assertDoesNotThrow(
                () -> EmbedwireClient.builder(target).token("tok").build().close());
    }

    /** Credentials go to no other target in plain text, nor to a local name that a custom DNS server resolves. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "embed.internal:1",
                "10.0.0.1:1",
                "127.0.0.1.example.org:1",
                "127.0.0.999:1",
                "[2001:db8::1]:1",
                "dns://10.0.0.53/localhost:1",
                "localhost.example.org",
                "1270.0.0.1:1"
            })
    void secretsGoNowhereElse(String target) {
        var token = EmbedwireClient.builder(target).token("tok-secret");
        var error = assertThrows(IllegalArgumentException.class, token::build);
        assertTrue(error.getMessage().startsWith("token: would travel in plain text"), error.getMessage());
        assertFalse(error.getMessage().contains("tok-secret"), error.getMessage());
        assertThrows(
                IllegalArgumentException.class, EmbedwireClient.builder(target).upstreamApiKey("key")::build);
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

    /** Options that cannot be meant are refused where they are made. */
    @Test
    void optionsThatCannotBeMeant() {
        assertThrows(IllegalArgumentException.class, () -> Options.DEFAULT.withTimeout(Duration.ofNanos(-1)));
        assertThrows(IllegalArgumentException.class, () -> Options.DEFAULT.withMaxRetries(-1));
        assertThrows(IllegalArgumentException.class, () -> Options.DEFAULT.withRequestId("a b"));
        assertThrows(IllegalArgumentException.class, () -> Options.DEFAULT.withChunkBytes(0));
        assertThrows(IllegalArgumentException.class, () -> Options.DEFAULT.withChunkBytes(16 << 20));
    }

    /** A stream has no size, so a unary call refuses it before it reads; a file that is not there is an I/O error. */
    @Test
    void whatAUnaryCallRefuses() {
        try (var client = EmbedwireClient.builder(NOBODY).build()) {
            var stream = Image.of(Source.stream(InputStream.nullInputStream()));
            assertThrows(IllegalArgumentException.class, () -> client.embedUnary("m", stream));
            var missing = Image.of(Source.path(Path.of("missing.png")));
            assertThrows(UncheckedIOException.class, () -> client.embedUnary("m", missing));
            assertThrows(UncheckedIOException.class, () -> client.stream("m", List.of(missing)));
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
        var failure = Failure.of("INTERNAL", "", "private");
        assertFalse(failure.toString().contains("private"), failure.toString());
    }

    /** A thread that is interrupted while it waits gets out at once, and stays interrupted. */
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
