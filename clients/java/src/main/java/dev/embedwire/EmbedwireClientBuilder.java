package dev.embedwire;

import static java.util.Objects.requireNonNull;

import java.time.Duration;
import java.util.Optional;

/** Collects the options of a client. Each is optional. */
public final class EmbedwireClientBuilder {
    final String target;
    Optional<Tls> tls = Optional.empty();
    Optional<String> token = Optional.empty();
    Optional<String> upstreamApiKey = Optional.empty();
    Optional<Duration> timeout = Optional.empty();
    boolean waitForReady;
    boolean retryOnPushback = true;

    EmbedwireClientBuilder(String target) {
        this.target = requireNonNull(target, "target");
    }

    /**
     * Uses TLS; without it, plain text.
     *
     * @param tls the settings of TLS
     * @return this
     */
    public EmbedwireClientBuilder tls(Tls tls) {
        this.tls = Optional.of(tls);
        return this;
    }

    /**
     * Sends the bearer token that the server requires: over TLS, or to a target on this machine.
     *
     * @param token the token
     * @return this
     */
    public EmbedwireClientBuilder token(String token) {
        this.token = Optional.of(token);
        return this;
    }

    /**
     * Sends your own key for the upstream, for servers that accept one, in the same way as a token. Without it the
     * server uses its own.
     *
     * @param key the key
     * @return this
     */
    public EmbedwireClientBuilder upstreamApiKey(String key) {
        this.upstreamApiKey = Optional.of(key);
        return this;
    }

    /**
     * Sets the deadline of calls that choose none.
     *
     * @param timeout from the start of a call to its end; by default 60 s, or 600 s if any input is audio
     * @return this
     */
    public EmbedwireClientBuilder timeout(Duration timeout) {
        this.timeout = Optional.of(timeout);
        return this;
    }

    /**
     * Waits within the timeout for a server that cannot be reached yet. Without it such a call fails at once.
     *
     * @param waitForReady whether to wait; false by default
     * @return this
     */
    public EmbedwireClientBuilder waitForReady(boolean waitForReady) {
        this.waitForReady = waitForReady;
        return this;
    }

    /**
     * Makes a call once more that the server rejected before it did any work, after the time that the server asks for
     * and within the timeout. Other failed calls and uploads are not repeated.
     *
     * @param retryOnPushback whether to; true by default
     * @return this
     */
    public EmbedwireClientBuilder retryOnPushback(boolean retryOnPushback) {
        this.retryOnPushback = retryOnPushback;
        return this;
    }

    /**
     * Makes the client. It connects with its first call.
     *
     * @return the client, to be closed
     * @throws IllegalArgumentException an option is invalid; the message says why
     */
    public EmbedwireClient build() {
        Checks.target(target);
        Checks.timeout("timeout", timeout);
        boolean isSafe = tls.isPresent() || Loopback.contains(target);
        Checks.secret("token", token, isSafe);
        Checks.secret("upstreamApiKey", upstreamApiKey, isSafe);
        return new EmbedwireClient(new Connection(this));
    }
}
