package dev.embedwire;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import java.util.HashMap;
import java.util.Map;

/**
 * Sends the W3C trace context with every call, if the API of OpenTelemetry is on the class path. As the last
 * interceptor it does not replace a context that another one has set.
 */
final class TraceContext implements ClientInterceptor {
    private static final CallOptions.Key<Map<String, String>> HEADERS =
            CallOptions.Key.createWithDefault("embedwire-trace-context", Map.of());
    private static final boolean IS_PRESENT = isPresent();

    /** Adds the context of this thread to the options of a call. */
    static CallOptions addTo(CallOptions options) {
        try {
            return IS_PRESENT ? options.withOption(HEADERS, OpenTelemetry.headers()) : options;
        } catch (RuntimeException | LinkageError error) { // must not fail the call
            return options;
        }
    }

    /** Wraps a task for another thread in the context of this one. */
    static Runnable wrap(Runnable task) {
        return IS_PRESENT ? OpenTelemetry.wrap(task) : task;
    }

    @Override
    public <Q, A> ClientCall<Q, A> interceptCall(MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
        return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
            @Override
            public void start(Listener<A> listener, Metadata metadata) {
                options.getOption(HEADERS).forEach((name, value) -> {
                    var key = Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
                    if (!metadata.containsKey(key)) {
                        metadata.put(key, value);
                    }
                });
                super.start(listener, metadata);
            }
        };
    }

    private static boolean isPresent() {
        try {
            OpenTelemetry.wrap(OpenTelemetry::headers);
            return true;
        } catch (RuntimeException | LinkageError error) {
            return false;
        }
    }

    /** Loaded only if the API is on the class path. */
    private static final class OpenTelemetry {
        static Map<String, String> headers() {
            Map<String, String> headers = new HashMap<>();
            W3CTraceContextPropagator.getInstance()
                    .inject(Context.current(), headers, (carrier, name, value) -> headers.put(name, value));
            return headers;
        }

        static Runnable wrap(Runnable task) {
            return Context.current().wrap(task);
        }
    }
}
