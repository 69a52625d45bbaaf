package dev.embedwire;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.EquivalentAddressGroup;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.NameResolver;
import io.grpc.NameResolverProvider;
import io.grpc.NameResolverRegistry;
import io.grpc.StatusOr;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.URI;
import java.time.Duration;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Function;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** The connections of a client, with real servers. */
class ConnectionTest {
    private static final Text TEXT = Text.of("text");

    /** Calls are distributed in turn over as many connections as were asked for; by default there is one. */
    @Test
    void channels() throws Exception {
        assertEquals(3, connections(server -> server.client().channels(3)));
        assertEquals(1, connections(FakeServer::client));
    }

    private static int connections(Function<FakeServer, EmbedwireClientBuilder> builder) throws Exception {
        try (var server = FakeServer.embedding();
                var client = builder.apply(server).build()) {
            for (int call = 0; call < 6; call++) {
                client.embed("m", TEXT);
            }
            Set<SocketAddress> found = new HashSet<>(server.peers);
            server.peers.forEach(peer -> assertEquals(
                    6 / found.size(), server.peers.stream().filter(peer::equals).count()));
            return found.size();
        }
    }

    /** If a name has several addresses, all of them get calls. */
    @Test
    void severalAddresses() throws Exception {
        try (var one = FakeServer.embedding();
                var other = FakeServer.embedding()) {
            var resolver = new TwoAddresses(List.of(one.port(), other.port()));
            NameResolverRegistry.getDefaultRegistry().register(resolver);
            try (var client = EmbedwireClient.builder("two:///servers").build()) {
                while (one.calls.isEmpty() || other.calls.isEmpty()) { // the timeout of all tests ends it
                    client.embed("m", TEXT);
                }
                int before = one.calls.size();
                for (int call = 0; call < 10; call++) {
                    client.embed("m", TEXT);
                }
                assertEquals(5, one.calls.size() - before);
            } finally {
                NameResolverRegistry.getDefaultRegistry().deregister(resolver);
            }
        }
    }

    /** Interceptors see each call, and channels are built as the caller chooses. */
    @Test
    void escapeHatch() throws Exception {
        var key = Metadata.Key.of("x-tenant", Metadata.ASCII_STRING_MARSHALLER);
        var interceptor = new ClientInterceptor() {
            @Override
            public <Q, A> ClientCall<Q, A> interceptCall(
                    MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
                return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
                    @Override
                    public void start(Listener<A> listener, Metadata metadata) {
                        metadata.put(key, "blue");
                        super.start(listener, metadata);
                    }
                };
            }
        };
        try (var server = FakeServer.embedding();
                var client = server.client()
                        .interceptors(interceptor)
                        .channel(builder -> builder.userAgent("mine"))
                        .build()) {
            client.embed("m", TEXT);
            Metadata found = server.headers.element();
            assertEquals("blue", found.get(key));
            String agent = found.get(Metadata.Key.of("user-agent", Metadata.ASCII_STRING_MARSHALLER));
            assertTrue(agent.startsWith("mine"), agent);
        }
    }

    /** An exception of an interceptor is thrown as it is. */
    @Test
    void throwingInterceptor() throws Exception {
        var mine = new UnsupportedOperationException("mine");
        var interceptor = new ClientInterceptor() {
            @Override
            public <Q, A> ClientCall<Q, A> interceptCall(
                    MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
                throw mine;
            }
        };
        try (var server = FakeServer.embedding();
                var client = server.client().interceptors(interceptor).build()) {
            assertEquals(mine, assertThrows(RuntimeException.class, () -> client.embed("m", TEXT)));
            var embeddings = client.map("m", List.of(TEXT));
            assertEquals(mine, assertThrows(RuntimeException.class, embeddings::hasNext));
        }
    }

    /** After close() every call fails immediately with an error of the client, and so do calls that are running. */
    @Test
    void closed() throws Exception {
        try (var server = new FakeServer(call -> {})) {
            var client = server.client().waitForReady(true).build();
            var running = client.stream("m", List.of(TEXT));
            var future = client.embedAsync("m", TEXT, Options.DEFAULT);
            var publisher = client.publish("m", List.of(TEXT), Options.DEFAULT);
            client.close();
            client.close();
            var subscriber = new Events(1);
            publisher.subscribe(subscriber);
            for (Executable call : Stream.<Executable>of(
                            running::hasNext,
                            () -> client.stream("m", List.of(TEXT)),
                            () -> client.embed("m", TEXT),
                            () -> client.embedAsync("m", TEXT, Options.DEFAULT),
                            () -> client.publish("m", List.of(TEXT), Options.DEFAULT),
                            () -> client.map("m", List.of(TEXT)),
                            client::models)
                    .toList()) {
                var error = assertThrows(IllegalStateException.class, call);
                assertEquals("the client is closed", error.getMessage());
            }
            assertEquals(
                    "the client is closed",
                    assertThrows(Exception.class, future::get).getCause().getMessage());
            assertEquals("the client is closed", subscriber.failure.get().getMessage());
        }
    }

    /** A builder can be used again; the clients that it has made do not change. */
    @Test
    void builderUsedAgain() throws Exception {
        var key = Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
        try (var server = FakeServer.embedding()) {
            var builder = server.client().token("first");
            try (var first = builder.build();
                    var second = builder.token("second").build()) {
                first.embed("m", TEXT);
                second.embed("m", TEXT);
            }
            assertEquals(
                    List.of("Bearer first", "Bearer second"),
                    server.headers.stream().map(each -> each.get(key)).toList());
        }
    }

    /** Invalid options of connections are refused. */
    @Test
    void invalidOptions() {
        var builder = EmbedwireClient.builder("127.0.0.1:1");
        assertThrows(IllegalArgumentException.class, builder.channels(0)::build);
        assertThrows(IllegalArgumentException.class, builder.channels(1001)::build);
        assertThrows(IllegalArgumentException.class, builder.channels(1).keepAliveTime(Duration.ofNanos(-1))::build);
        builder.keepAliveTime(Duration.ZERO).build().close();
    }

    /** Resolves the scheme "two" to these ports of this machine. */
    private static final class TwoAddresses extends NameResolverProvider {
        private final List<Integer> ports;

        TwoAddresses(List<Integer> ports) {
            this.ports = ports;
        }

        @Override
        public NameResolver newNameResolver(URI target, NameResolver.Args arguments) {
            return new NameResolver() {
                @Override
                public String getServiceAuthority() {
                    return "servers";
                }

                @Override
                public void start(Listener2 listener) {
                    List<EquivalentAddressGroup> found = ports.stream()
                            .map(port -> new EquivalentAddressGroup(new InetSocketAddress("127.0.0.1", port)))
                            .toList();
                    listener.onResult(ResolutionResult.newBuilder()
                            .setAddressesOrError(StatusOr.fromValue(found))
                            .build());
                }

                @Override
                public void shutdown() {}
            };
        }

        @Override
        protected boolean isAvailable() {
            return true;
        }

        @Override
        protected int priority() {
            return 5;
        }

        @Override
        public String getDefaultScheme() {
            return "two";
        }

        @Override
        public Collection<Class<? extends SocketAddress>> getProducedSocketAddressTypes() {
            return List.of(InetSocketAddress.class);
        }
    }
}
