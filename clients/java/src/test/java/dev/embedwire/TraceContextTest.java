package dev.embedwire;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The trace context, with the real API of OpenTelemetry. {@link ReadmeTest} runs without it. */
class TraceContextTest {
    private static final Metadata.Key<String> PARENT = Metadata.Key.of("traceparent", Metadata.ASCII_STRING_MARSHALLER);
    private static final Metadata.Key<String> STATE = Metadata.Key.of("tracestate", Metadata.ASCII_STRING_MARSHALLER);
    private static final String TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
    private static final String SPAN = "00f067aa0ba902b7";
    private static final List<Text> TWO = List.of(Text.of("a"), Text.of("b"));

    /** Every kind of call carries the context of the thread that makes it, also if other threads send it. */
    @Test
    void everyCall() throws Exception {
        var context = SpanContext.create(
                TRACE,
                SPAN,
                TraceFlags.getSampled(),
                TraceState.builder().put("vendor", "1").build());
        try (var server = FakeServer.embedding();
                var client = server.client().build();
                var scope = Span.wrap(context).makeCurrent()) {
            assertEquals(true, scope != null);
            client.embed("m", TWO);
            client.stream("m", TWO).forEach(event -> {});
            client.embedAsync("m", TWO, Options.DEFAULT).get();
            client.map("m", TWO).forEach(embedding -> {});
            assertEquals(4, server.headers.size());
            for (Metadata found : server.headers) {
                assertEquals(List.of("00-" + TRACE + "-" + SPAN + "-01"), all(found, PARENT));
                assertEquals(List.of("vendor=1"), all(found, STATE));
            }
        }
    }

    /** Without a span there is no such header. */
    @Test
    void noSpan() throws Exception {
        try (var server = FakeServer.embedding();
                var client = server.client().build()) {
            client.embed("m", TWO);
            assertFalse(server.headers.element().containsKey(PARENT));
        }
    }

    /** A context that an interceptor has set, for instance one of OpenTelemetry's own, is kept. */
    @Test
    void contextOfAnInterceptor() throws Exception {
        var interceptor = new ClientInterceptor() {
            @Override
            public <Q, A> ClientCall<Q, A> interceptCall(
                    MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
                return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
                    @Override
                    public void start(Listener<A> listener, Metadata metadata) {
                        metadata.put(PARENT, "of the interceptor");
                        super.start(listener, metadata);
                    }
                };
            }
        };
        var context = SpanContext.create(TRACE, SPAN, TraceFlags.getDefault(), TraceState.getDefault());
        try (var server = FakeServer.embedding();
                var client = server.client().interceptors(interceptor).build();
                var scope = Span.wrap(context).makeCurrent()) {
            assertEquals(true, scope != null);
            client.embed("m", TWO);
            assertEquals(List.of("of the interceptor"), all(server.headers.element(), PARENT));
        }
    }

    private static List<String> all(Metadata metadata, Metadata.Key<String> key) {
        List<String> found = new ArrayList<>();
        metadata.getAll(key).forEach(found::add);
        return found;
    }
}
