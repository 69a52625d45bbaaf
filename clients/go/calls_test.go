package embedwire

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Ways to call; without inputs, the stream has no event before its end.
var ways = map[string]func(context.Context, *Client) error{
	"stream": func(ctx context.Context, client *Client) error {
		_, err := client.Embed(ctx, "m")
		return err
	},
	"unary": func(ctx context.Context, client *Client) error {
		_, err := client.Embed(ctx, "m", Text{Value: "a"})
		return err
	},
	"models": func(ctx context.Context, client *Client) error {
		_, err := client.Models(ctx)
		return err
	},
}

// refuse fails with the code, and asks for a retry after a number of milliseconds.
func refuse(ctx context.Context, code codes.Code, pushback ...string) error {
	for _, millis := range pushback {
		grpc.SetTrailer(ctx, metadata.Pairs(pushbackKey, millis))
	}
	return status.Error(code, "on purpose")
}

// A refusal that the server wants back is repeated once, with the same request id, and nothing else is.
func TestRetries(t *testing.T) {
	for name, try := range map[string]struct {
		code     codes.Code
		pushback []string
		retry    bool
		want     int
	}{
		"full":             {codes.ResourceExhausted, []string{"1"}, true, 2},
		"draining":         {codes.Unavailable, []string{"0"}, true, 2},
		"switched off":     {codes.ResourceExhausted, []string{"1"}, false, 1},
		"forbidden":        {codes.ResourceExhausted, []string{"-1"}, true, 1},
		"not a number":     {codes.ResourceExhausted, []string{"soon"}, true, 1},
		"two numbers":      {codes.ResourceExhausted, []string{"1", "1"}, true, 1},
		"not said":         {codes.Unavailable, nil, true, 1},
		"another code":     {codes.Aborted, []string{"1"}, true, 1},
		"after its time":   {codes.ResourceExhausted, []string{"60000"}, true, 1}, // returned immediately
		"after many years": {codes.ResourceExhausted, []string{"99999999999999999999"}, true, 1},
	} {
		for way, call := range ways {
			var ids []string
			client := serve(t, func(call *exchange) error {
				seen, _ := metadata.FromIncomingContext(call)
				ids = append(ids, seen.Get("x-request-id")...)
				return refuse(call, try.code, try.pushback...)
			}, WithRetryOnPushback(try.retry))
			err := call(t.Context(), client)
			var failed *Error
			if !errors.As(err, &failed) || failed.Code != try.code || len(ids) != try.want {
				t.Errorf("%s, %s: %d calls, %v", name, way, len(ids), err)
			}
			for _, id := range ids {
				if id != failed.RequestID {
					t.Errorf("%s, %s: the id is %s, the error's is %s", name, way, id, failed.RequestID)
				}
			}
		}
	}
}

// The second attempt is the call's: the caller does not notice that the first was refused.
func TestRetriesThatSucceed(t *testing.T) {
	for way, call := range ways {
		var calls atomic.Int32
		client := serve(t, func(call *exchange) error {
			if calls.Add(1) == 1 {
				return refuse(call, codes.ResourceExhausted, "1")
			}
			return call.succeed()
		})
		if err := call(t.Context(), client); err != nil || calls.Load() != 2 {
			t.Errorf("%s: %d calls, %v", way, calls.Load(), err)
		}
	}
}

// What has begun is not repeated: a call with an event, and an upload.
func TestNoRetriesOfWhatHasBegun(t *testing.T) {
	for name, input := range map[string]Input{
		"event": Image{Source: URL("http://a.test/a")}, "upload": Image{Source: Reader(strings.NewReader("a"))},
	} {
		var calls atomic.Int32
		client := serve(t, func(call *exchange) error {
			calls.Add(1)
			if name == "event" {
				call.send(aSegment(0))
			}
			return refuse(call, codes.ResourceExhausted, "1")
		})
		_, err := client.Embed(t.Context(), "m", input)
		if status.Code(err) != codes.ResourceExhausted || calls.Load() != 1 {
			t.Errorf("%s: %d calls, %v", name, calls.Load(), err)
		}
	}
}

// A call that is cancelled while it waits for its second attempt ends then, as one that is cancelled.
func TestCancelledBetweenAttempts(t *testing.T) {
	client := serve(t, func(call *exchange) error { return refuse(call, codes.ResourceExhausted, "30000") })
	for way, call := range ways {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if err := call(ctx, client); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", way, err)
		}
	}
}

// accepted is a listener that returns its connections.
type accepted struct {
	net.Listener
	connections chan net.Conn
}

func (a accepted) Accept() (net.Conn, error) {
	connection, err := a.Listener.Accept()
	if err == nil {
		a.connections <- connection
	}
	return connection, err
}

// A call whose connection breaks while the server is at work is not repeated, as it may have cost an upstream request.
func TestConnectionsThatBreak(t *testing.T) {
	for way, call := range ways {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		breaking := accepted{listener, make(chan net.Conn, 10)}
		var calls atomic.Int32
		serveOn(t, breaking, func(call *exchange) error {
			calls.Add(1)
			(<-breaking.connections).Close()
			return untilGone(call)
		})
		client := clientOf(t, listener.Addr().String())
		if err := call(t.Context(), client); !errors.Is(err, ErrTransport) || calls.Load() != 1 {
			t.Errorf("%s: %d calls, %v", way, calls.Load(), err)
		}
	}
}
