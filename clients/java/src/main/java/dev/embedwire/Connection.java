package dev.embedwire;

import dev.embedwire.Call.Terms;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;
import java.util.stream.Stream;

/** The connections to the server, and the deadline, request id and credentials of each call. */
final class Connection {
    static final String VERSION = "0.1.0";

    private static final Metadata.Key<String> REQUEST_ID = key("x-request-id");
    private static final Metadata.Key<String> AUTHORIZATION = key("authorization");
    private static final Metadata.Key<String> UPSTREAM_KEY = key("x-upstream-api-key");

    /** A unary response is at most 4 MiB, which is gRPC's default limit; the frame needs some bytes more. */
    private static final int RECEIVED_BYTES = 8 << 20;

    private static final int KEEP_ALIVE_TIMEOUT_SECONDS = 20;

    /** The maximum deadline that a server accepts. */
    private static final Duration LONGEST = Duration.ofDays(7);

    private final List<ManagedChannel> channels;
    private final Metadata credentials = new Metadata();
    private final Optional<Duration> timeout;
    private final CallOptions callOptions;
    private final boolean retryOnPushback;
    private final AtomicInteger calls = new AtomicInteger();
    private final Set<MapRun> runs = ConcurrentHashMap.newKeySet();
    private volatile boolean isClosed;

    Connection(EmbedwireClientBuilder settings) {
        settings.token.ifPresent(value -> credentials.put(AUTHORIZATION, "Bearer " + value));
        settings.upstreamApiKey.ifPresent(value -> credentials.put(UPSTREAM_KEY, value));
        timeout = settings.timeout;
        callOptions = settings.waitForReady ? CallOptions.DEFAULT.withWaitForReady() : CallOptions.DEFAULT;
        retryOnPushback = settings.retryOnPushback;
        channels = Stream.generate(() -> connect(settings))
                .limit(settings.channels)
                .toList();
    }

    private static ManagedChannel connect(EmbedwireClientBuilder settings) {
        String names = settings.tls.isPresent() ? "target or tls: " : "target: ";
        var builder = settings.channel.apply(checked(names, () -> channelBuilder(settings)));
        return checked(names, builder::build);
    }

    private static <T> T checked(String names, Supplier<T> made) {
        try {
            return made.get();
        } catch (RuntimeException error) { // the class differs for an invalid name and an invalid key
            throw new IllegalArgumentException(names + error.getMessage(), error);
        }
    }

    private static ManagedChannelBuilder<?> channelBuilder(EmbedwireClientBuilder settings) {
        var credentials = settings.tls.map(Tls::credentials).orElseGet(InsecureChannelCredentials::create);
        var builder = Grpc.newChannelBuilder(settings.target, credentials)
                .userAgent("embedwire-java/" + VERSION)
                .maxInboundMessageSize(RECEIVED_BYTES)
                .disableServiceConfigLookUp() // no retry policy from DNS
                .defaultLoadBalancingPolicy("round_robin")
                .intercept(new TraceContext()) // the first one added is the last one called
                .intercept(settings.interceptors);
        if (!settings.keepAliveTime.isZero()) {
            builder.keepAliveTime(nanos(settings.keepAliveTime), TimeUnit.NANOSECONDS)
                    .keepAliveTimeout(KEEP_ALIVE_TIMEOUT_SECONDS, TimeUnit.SECONDS);
        }
        settings.tls.flatMap(Tls::serverName).ifPresent(builder::overrideAuthority);
        if (Loopback.contains(settings.target)) {
            builder.proxyDetector(address -> null); // credentials for this machine are not sent to a proxy
        }
        return builder;
    }

    /** Returns the channel of the next call (round robin). */
    Channel channel() {
        return channels.get(Math.floorMod(calls.getAndIncrement(), channels.size()));
    }

    /**
     * Checks that the client is open.
     *
     * @throws IllegalStateException the client is closed
     */
    void checkOpen() {
        if (isClosed) {
            throw closed();
        }
    }

    void close() {
        isClosed = true;
        runs.forEach(run -> run.stop(closed()));
        channels.forEach(ManagedChannel::shutdownNow);
    }

    /** Registers a run, which ends when the client is closed. */
    void add(MapRun run) {
        runs.add(run);
        if (isClosed) { // meanwhile
            run.stop(closed());
        }
    }

    void remove(MapRun run) {
        runs.remove(run);
    }

    /** Returns the exception for a failed call. */
    RuntimeException exception(Status status, Metadata trailers, String requestId) {
        return isClosed ? closed() : StatusDetails.exception(status, trailers, requestId);
    }

    private static IllegalStateException closed() {
        return new IllegalStateException("the client is closed");
    }

    /** Returns the timeout of a call. */
    Duration timeout(Options options, Duration defaultTimeout) {
        Duration chosen = options.timeout.or(() -> timeout).orElse(defaultTimeout);
        return Duration.ofNanos(nanos(chosen));
    }

    /** Returns a timeout in nanoseconds, at most the maximum that a server accepts. */
    static long nanos(Duration timeout) {
        return (timeout.compareTo(LONGEST) > 0 ? LONGEST : timeout).toNanos();
    }

    /** Returns the terms of a call that starts now. */
    Terms terms(CallKind kind, Options options, Duration timeout) {
        CallOptions made = callOptions.withDeadlineAfter(timeout.toNanos(), TimeUnit.NANOSECONDS);
        boolean isDirect = kind.isDirect && options.onProgress.isEmpty(); // a function of the caller may block
        made = TraceContext.addTo(isDirect ? made.withExecutor(Runnable::run) : made);
        String requestId = options.requestId.orElseGet(
                () -> String.format("%016x", ThreadLocalRandom.current().nextLong()));
        return new Terms(requestId, made, kind.isRepeated && retryOnPushback);
    }

    Metadata metadata(String requestId) {
        var made = new Metadata();
        made.merge(credentials);
        made.put(REQUEST_ID, requestId);
        return made;
    }

    private static Metadata.Key<String> key(String name) {
        return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
    }
}
