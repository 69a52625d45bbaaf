package dev.embedwire;

import io.grpc.CallOptions;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Where the server is and how it is spoken to: address, TLS, credentials, metadata. Credentials that cannot be sent, or
 * would travel in plain text over a network, are refused.
 */
record Connection(
        String target,
        Optional<Tls> tls,
        Optional<String> token,
        Optional<String> upstreamApiKey,
        Optional<Duration> timeout,
        boolean waitForReady,
        boolean retryOnPushback) {
    static final String VERSION = "0.1.0";

    private static final Metadata.Key<String> REQUEST_ID = key("x-request-id");
    private static final Metadata.Key<String> AUTHORIZATION = key("authorization");
    private static final Metadata.Key<String> UPSTREAM_KEY = key("x-upstream-api-key");

    /** A unary answer is at most 4 MiB, and needs room for its frame. */
    private static final int RECEIVED_BYTES = 8 << 20;

    /** A server allows no more. */
    private static final Duration LONGEST = Duration.ofDays(7);

    private static final Pattern HOST = Pattern.compile("(?:dns:(?:///)?)?(?:\\[(.*)\\]|([^:/]*))(?::[0-9]+)?");
    private static final Pattern LOOPBACK = Pattern.compile("127(\\.(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])){3}");
    private static final Pattern PORT = Pattern.compile(".*:([0-9]+)");

    Connection {
        checkTarget(target);
        checkTimeout(timeout);
        checkSecret("token", token, tls.isPresent() || isLocal(target));
        checkSecret("upstreamApiKey", upstreamApiKey, tls.isPresent() || isLocal(target));
    }

    ManagedChannel channel() {
        try {
            var builder = Grpc.newChannelBuilder(
                            target, tls.map(Tls::credentials).orElseGet(InsecureChannelCredentials::create))
                    .userAgent("embedwire-java/" + VERSION)
                    .maxInboundMessageSize(RECEIVED_BYTES)
                    .disableServiceConfigLookUp(); // no retry policy from DNS
            tls.flatMap(Tls::serverName).ifPresent(builder::overrideAuthority);
            if (isLocal(target)) {
                builder.proxyDetector(address -> null); // credentials for this machine do not go to a proxy
            }
            return builder.build();
        } catch (RuntimeException error) { // gRPC has one class for a name, another for a key
            throw new IllegalArgumentException(
                    (tls.isPresent() ? "target or tls: " : "target: ") + error.getMessage(), error);
        }
    }

    /** The options of a call that starts now. */
    CallOptions callOptions(Options options, Duration defaultTimeout) {
        Duration wanted = options.timeout().or(this::timeout).orElse(defaultTimeout);
        long nanos = (wanted.compareTo(LONGEST) > 0 ? LONGEST : wanted).toNanos();
        CallOptions made = CallOptions.DEFAULT.withDeadlineAfter(nanos, TimeUnit.NANOSECONDS);
        return waitForReady ? made.withWaitForReady() : made;
    }

    static String requestId(Options options) {
        return options.requestId()
                .orElseGet(
                        () -> String.format("%016x", ThreadLocalRandom.current().nextLong()));
    }

    Metadata metadata(String requestId) {
        var made = new Metadata();
        made.put(REQUEST_ID, requestId);
        token.ifPresent(value -> made.put(AUTHORIZATION, "Bearer " + value));
        upstreamApiKey.ifPresent(value -> made.put(UPSTREAM_KEY, value));
        return made;
    }

    static void checkTimeout(Optional<Duration> timeout) {
        if (timeout.isPresent() && timeout.get().isNegative()) {
            throw new IllegalArgumentException("timeout: must be 0 or more, got " + timeout.get());
        }
    }

    private static void checkTarget(String target) {
        if (target.isEmpty() || target.contains(" ") || !target.equals(target.strip())) {
            throw new IllegalArgumentException("target: must be HOST:PORT, or another gRPC name, without spaces");
        }
        if (target.startsWith("http://") || target.startsWith("https://")) {
            throw new IllegalArgumentException("target: must be HOST:PORT without http://; TLS is chosen by tls");
        }
        Matcher port = PORT.matcher(target);
        if (port.matches() && (port.group(1).length() > 5 || Integer.parseInt(port.group(1)) > 65535)) {
            throw new IllegalArgumentException("target: there is no port " + port.group(1));
        }
    }

    private static void checkSecret(String name, Optional<String> secret, boolean isSafe) {
        if (secret.isPresent() && !secret.get().matches("[\\x21-\\x7e]+")) {
            throw new IllegalArgumentException(name + ": must be printable ASCII without spaces, and not empty");
        }
        if (secret.isPresent() && !isSafe) {
            throw new IllegalArgumentException(
                    name + ": would travel in plain text; choose tls, or use a loopback target");
        }
    }

    /** Whether what is sent there stays on this machine. Names other than localhost do not count. */
    private static boolean isLocal(String target) {
        if (target.startsWith("unix:")) {
            return true;
        }
        Matcher parts = HOST.matcher(target);
        if (!parts.matches()) {
            return false;
        }
        if (parts.group(1) == null) {
            return parts.group(2).equalsIgnoreCase("localhost")
                    || LOOPBACK.matcher(parts.group(2)).matches();
        }
        try {
            return parts.group(1).contains(":")
                    && InetAddress.getByName(parts.group(1)).isLoopbackAddress(); // with a colon it is never looked up
        } catch (UnknownHostException error) {
            return false;
        }
    }

    private static Metadata.Key<String> key(String name) {
        return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
    }

    /** Without credentials. */
    @Override
    public String toString() {
        return "Connection[" + target + "]";
    }
}
