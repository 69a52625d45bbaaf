package dev.embedwire;

import static java.util.Objects.requireNonNull;

import io.grpc.ClientInterceptor;
import io.grpc.ManagedChannelBuilder;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.function.UnaryOperator;

/** A builder of a client. Each option is optional. */
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

    /** Sets the TLS settings; by default the connection is plaintext. */
    public EmbedwireClientBuilder tls(Tls tls) {
        this.tls = Optional.of(tls);
        return this;
    }

    /** Sets the bearer token for the server; it is sent over TLS or to a loopback address only. */
    public EmbedwireClientBuilder token(String token) {
        this.token = Optional.of(token);
        return this;
    }

    /**
     * Sets your own API key of the upstream, for servers that accept one; it is sent over TLS or to a loopback address
     * only. By default the server uses its own key.
     */
    public EmbedwireClientBuilder upstreamApiKey(String key) {
        this.upstreamApiKey = Optional.of(key);
        return this;
    }

    /** Sets the deadline of calls that set none; {@link Options.Builder#timeout} states the default. */
    public EmbedwireClientBuilder timeout(Duration timeout) {
        this.timeout = Optional.of(timeout);
        return this;
    }

    /** Waits until the deadline for an unreachable server; by default (false) such a call fails immediately. */
    public EmbedwireClientBuilder waitForReady(boolean waitForReady) {
        this.waitForReady = waitForReady;
        return this;
    }

    /**
     * Retries once a call that the server rejected or ended in its shutdown, after the delay that the server requests
     * and within the deadline; true by default. Other failures and uploads are not retried.
     */
    public EmbedwireClientBuilder retryOnPushback(boolean retryOnPushback) {
        this.retryOnPushback = retryOnPushback;
        return this;
    }

    /**
     * Sets the number of connections to each address, 1 to 1000; 1 by default. Calls use them in turn. One worker
     * process of the server serves a connection, so a client needs several connections to use several workers.
     */
    public EmbedwireClientBuilder channels(int channels) {
        this.channels = channels;
        return this;
    }

    /**
     * Sets the interval of keepalive pings, which are sent only while calls run: at least 10 s, 60 s by default, 0 for
     * none. If there is no answer within 20 s, the connection is closed and its calls fail.
     */
    public EmbedwireClientBuilder keepAliveTime(Duration keepAliveTime) {
        this.keepAliveTime = requireNonNull(keepAliveTime, "keepAliveTime");
        return this;
    }

    /** Sets gRPC interceptors. Their effects are outside the guarantees of this client. */
    public EmbedwireClientBuilder interceptors(ClientInterceptor... interceptors) {
        this.interceptors = List.of(interceptors);
        return this;
    }

    /**
     * Sets a function that changes the channel builder of gRPC, after the client has set its own options. Its effects
     * are outside the guarantees of this client.
     */
    public EmbedwireClientBuilder channel(UnaryOperator<ManagedChannelBuilder<?>> channel) {
        this.channel = requireNonNull(channel, "channel");
        return this;
    }

    /**
     * Returns a client, which the caller has to close. The first call opens the connection.
     *
     * @throws IllegalArgumentException an option is invalid, or a credential would be sent in plaintext to a
     *     non-loopback address
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
