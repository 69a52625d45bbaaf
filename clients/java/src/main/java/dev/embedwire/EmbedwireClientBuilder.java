package dev.embedwire;

import static java.util.Objects.requireNonNull;

import io.grpc.ClientInterceptor;
import io.grpc.ManagedChannelBuilder;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.function.UnaryOperator;

/** Collects the options of a client. Each is optional. */
public final class EmbedwireClientBuilder {
    final String target;
    Optional<Tls> tls = Optional.empty();
    Optional<String> token = Optional.empty();
    Optional<String> upstreamApiKey = Optional.empty();
    Optional<Duration> timeout = Optional.empty();
    boolean waitForReady;
    boolean retryOnPushback = true;
    int channels = 1;
    Duration keepAliveTime = Duration.ofSeconds(60);
    List<ClientInterceptor> interceptors = List.of();
    UnaryOperator<ManagedChannelBuilder<?>> channel = UnaryOperator.identity();

    EmbedwireClientBuilder(String target) {
        this.target = requireNonNull(target, "target");
    }

    /** Uses TLS with these settings; without it, plain text. */
    public EmbedwireClientBuilder tls(Tls tls) {
        this.tls = Optional.of(tls);
        return this;
    }

    /** Sends the bearer token that the server requires: over TLS, or to a target on this machine. */
    public EmbedwireClientBuilder token(String token) {
        this.token = Optional.of(token);
        return this;
    }

    /**
     * Sends your own key for the upstream, for servers that accept one, in the same way as a token. Without it the
     * server uses its own.
     */
    public EmbedwireClientBuilder upstreamApiKey(String key) {
        this.upstreamApiKey = Optional.of(key);
        return this;
    }

    /** Sets the deadline of calls that choose none; by default 60 s, or 600 s if any input is audio. */
    public EmbedwireClientBuilder timeout(Duration timeout) {
        this.timeout = Optional.of(timeout);
        return this;
    }

    /** Waits within the timeout for a server that cannot be reached yet; by default such a call fails at once. */
    public EmbedwireClientBuilder waitForReady(boolean waitForReady) {
        this.waitForReady = waitForReady;
        return this;
    }

    /**
     * Makes a call once more that the server rejected before it did any work, after the time that the server asks for
     * and within the timeout; true by default. Other failed calls and uploads are not repeated.
     */
    public EmbedwireClientBuilder retryOnPushback(boolean retryOnPushback) {
        this.retryOnPushback = retryOnPushback;
        return this;
    }

    /**
     * Opens several connections, 1 to 1000, and distributes calls over them in turn; 1 by default. A connection is
     * served by one worker process of the server, so several connections use several workers.
     */
    public EmbedwireClientBuilder channels(int channels) {
        this.channels = channels;
        return this;
    }

    /**
     * Sets how often a connection is checked by a ping while calls run; 60 s by default, at least 10 s, and 0 turns it
     * off. A connection without an answer for 20 s is closed.
     */
    public EmbedwireClientBuilder keepAliveTime(Duration keepAliveTime) {
        this.keepAliveTime = requireNonNull(keepAliveTime, "keepAliveTime");
        return this;
    }

    /** Adds interceptors. They are passed on to gRPC, and what they do is outside our guarantees. */
    public EmbedwireClientBuilder interceptors(ClientInterceptor... interceptors) {
        this.interceptors = List.of(interceptors);
        return this;
    }

    /**
     * Changes how channels are built, after the client has set its own options. It is passed on to gRPC, and what it
     * does is outside our guarantees.
     */
    public EmbedwireClientBuilder channel(UnaryOperator<ManagedChannelBuilder<?>> channel) {
        this.channel = requireNonNull(channel, "channel");
        return this;
    }

    /**
     * Makes the client, which is to be closed. It connects with its first call.
     *
     * @throws IllegalArgumentException an option is invalid; the message says why
     */
    public EmbedwireClient build() {
        Checks.target(target);
        Checks.timeout("timeout", timeout);
        Checks.timeout("keepAliveTime", Optional.of(keepAliveTime));
        Checks.range("channels", channels, 1, 1000);
        boolean isSafe = tls.isPresent() || Loopback.contains(target);
        Checks.secret("token", token, isSafe);
        Checks.secret("upstreamApiKey", upstreamApiKey, isSafe);
        return new EmbedwireClient(new Connection(this));
    }
}
