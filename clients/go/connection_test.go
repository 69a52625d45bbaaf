package embedwire

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// Several channels are connections of their own, and calls are distributed over them in turn.
func TestChannels(t *testing.T) {
	var mutex sync.Mutex
	counts := map[string]int{}
	client := serve(t, func(call *exchange) error {
		caller, _ := peer.FromContext(call)
		mutex.Lock()
		defer mutex.Unlock()
		counts[caller.Addr.String()]++
		return call.succeed()
	}, WithChannels(3))
	for range 12 {
		if _, err := client.Embed(t.Context(), "m", Text{Value: "a"}); err != nil {
			t.Fatal(err)
		}
	}
	if len(counts) != 3 {
		t.Errorf("got %v", counts)
	}
	for caller, count := range counts {
		if count != 4 {
			t.Errorf("%d of 12 calls from %s", count, caller)
		}
	}
}

// Calls to a name with two addresses go to both servers.
func TestRoundRobin(t *testing.T) {
	var counts [2]atomic.Int32
	addresses := manual.NewBuilderWithScheme("test")
	var found []resolver.Address
	for index := range counts {
		address := listen(t, func(call *exchange) error {
			counts[index].Add(1)
			return call.succeed()
		})
		found = append(found, resolver.Address{Addr: address.String()})
	}
	addresses.InitialState(resolver.State{Addresses: found})
	client := clientOf(t, "test:///embeddings", WithDialOptions(grpc.WithResolvers(addresses)))
	until(t, func() bool {
		if _, err := client.Embed(t.Context(), "m", Text{Value: "a"}); err != nil {
			t.Fatal(err)
		}
		return counts[0].Load() > 0 && counts[1].Load() > 0
	})
}

// Dial options are passed on, for instance an interceptor that adds a header.
func TestDialOptions(t *testing.T) {
	var seen []string
	client := serve(t, func(call *exchange) error {
		header, _ := metadata.FromIncomingContext(call)
		seen = append(seen, header.Get("x-team")...)
		return call.succeed()
	}, WithDialOptions(grpc.WithUnaryInterceptor(func(
		ctx context.Context, method string, request, reply any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker,
		options ...grpc.CallOption,
	) error {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-team", "search")
		return invoke(ctx, method, request, reply, connection, options...)
	})))
	if _, err := client.Embed(t.Context(), "m", Text{Value: "a"}); err != nil || !slices.Equal(seen, []string{"search"}) {
		t.Errorf("got %v, %v", seen, err)
	}
}

// A client that is closed fails every call with ErrClosed, also one that runs.
func TestClosedClients(t *testing.T) {
	for way, call := range ways {
		began := make(chan struct{}, 1)
		client := serve(t, func(call *exchange) error {
			began <- struct{}{}
			return untilGone(call)
		})
		go func() {
			<-began
			client.Close()
		}()
		for range 2 { // running, and closed before
			if err := call(t.Context(), client); err != ErrClosed {
				t.Errorf("%s: got %v", way, err)
			}
		}
		if err := client.Close(); err != nil {
			t.Errorf("closed again: %v", err)
		}
		for _, err := range client.Stream(t.Context(), "m", Image{Source: Reader(strings.NewReader("a"))}) {
			if err != ErrClosed {
				t.Errorf("upload: got %v", err)
			}
		}
	}
}

// A call that waits for its second attempt ends when the client is closed.
func TestClosedBetweenAttempts(t *testing.T) {
	rejected := make(chan struct{})
	client := serve(t, func(call *exchange) error { return refuse(call, codes.ResourceExhausted, "3000000") },
		WithTimeout(time.Hour), WithDialOptions(grpc.WithUnaryInterceptor(func(
			ctx context.Context, method string, request, reply any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker,
			options ...grpc.CallOption,
		) error {
			defer close(rejected)
			return invoke(ctx, method, request, reply, connection, options...)
		})))
	go func() {
		<-rejected
		client.Close()
	}()
	if _, err := client.Models(t.Context()); err != ErrClosed {
		t.Errorf("got %v", err)
	}
}

// faulty is a propagator that does what no metadata can hold, and then panics.
type faulty struct{ propagation.TraceContext }

func (f faulty) Inject(ctx context.Context, carrier propagation.TextMapCarrier) {
	f.TraceContext.Inject(ctx, carrier)
	carrier.Set("é", "a")
	carrier.Set("X-Odd", "é")
	panic("on purpose")
}

// Each call has the trace of its context, and no fault of a propagator is one of the call.
func TestTraceContext(t *testing.T) {
	var seen metadata.MD
	client := serve(t, func(call *exchange) error {
		seen, _ = metadata.FromIncomingContext(call)
		return call.succeed()
	})
	state, _ := trace.ParseTraceState("vendor=1")
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceState: state})
	ctx := trace.ContextWithSpanContext(t.Context(), span)
	defer otel.SetTextMapPropagator(otel.GetTextMapPropagator())
	for _, propagator := range []propagation.TextMapPropagator{propagation.TraceContext{}, faulty{}} {
		otel.SetTextMapPropagator(propagator)
		if _, err := client.Embed(ctx, "m", Text{Value: "a"}); err != nil {
			t.Fatal(err)
		}
		want := "00-01000000000000000000000000000000-0200000000000000-00"
		if got := seen.Get("traceparent"); !slices.Equal(got, []string{want}) {
			t.Errorf("got %v", got)
		}
		if got := seen.Get("tracestate"); !slices.Equal(got, []string{"vendor=1"}) {
			t.Errorf("got %v", got)
		}
	}
}

// A server that is not there, or one that is not this service, is a TransportError without a reason.
func TestTransportErrors(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	unreachable := clientOf(t, listener.Addr().String())
	other := serve(t, func(*exchange) error { return errors.New("of a proxy") })
	for code, client := range map[codes.Code]*Client{codes.Unavailable: unreachable, codes.Unknown: other} {
		_, err := client.With(WithTimeout(time.Minute)).Embed(t.Context(), "m", Text{Value: "a"})
		var failed *Error
		if !errors.As(err, &failed) || !errors.Is(err, ErrTransport) || failed.Reason != "" || failed.Code != code {
			t.Errorf("got %v", err)
		}
	}
}
