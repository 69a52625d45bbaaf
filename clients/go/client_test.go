package embedwire

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

// service answers every input with one segment and a result; a hook may do something else first.
type service struct {
	pb.UnimplementedEmbeddingServiceServer
	before func(context.Context) error
}

func (s *service) CreateEmbedding(
	request *pb.CreateEmbeddingRequest, stream pb.EmbeddingService_CreateEmbeddingServer,
) error {
	for index := range request.Inputs {
		vector := &pb.Vector{Encoding: pb.VectorEncoding_VECTOR_ENCODING_FLOAT32_LE, Data: []byte{0, 0, 128, 63}}
		segment := &pb.Segment{InputIndex: uint32(index), Vector: vector}
		event := &pb.CreateEmbeddingResponse_Segment{Segment: segment}
		if err := stream.Send(&pb.CreateEmbeddingResponse{Event: event}); err != nil {
			return err
		}
	}
	return s.before(stream.Context())
}

func (s *service) CreateEmbeddingUnary(
	ctx context.Context, _ *pb.CreateEmbeddingUnaryRequest,
) (*pb.CreateEmbeddingUnaryResponse, error) {
	return &pb.CreateEmbeddingUnaryResponse{}, s.before(ctx)
}

func (s *service) CreateEmbeddingFromUpload(stream pb.EmbeddingService_CreateEmbeddingFromUploadServer) error {
	for {
		if _, err := stream.Recv(); err == io.EOF {
			return s.before(stream.Context())
		} else if err != nil {
			return err
		}
	}
}

func (s *service) ListModels(ctx context.Context, _ *pb.ListModelsRequest) (*pb.ListModelsResponse, error) {
	return &pb.ListModelsResponse{}, s.before(ctx)
}

// serve starts a server of its own and makes a client of it.
func serve(t *testing.T, before func(context.Context) error, options ...Option) *Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, listener, before, options...)
}

func serveOn(t *testing.T, listener net.Listener, before func(context.Context) error, options ...Option) *Client {
	t.Helper()
	server := grpc.NewServer()
	pb.RegisterEmbeddingServiceServer(server, &service{before: before})
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	client, err := NewClient(listener.Addr().String(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func untilGone(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// A call without a deadline gets 60 s, 600 s with audio, or what the client says; that of the context goes first.
func TestDeadlines(t *testing.T) {
	client := &Client{settings: settings{}}
	text, audio := Text{Value: "a"}, Audio{Source: URL("http://a.test/a")}
	for name, try := range map[string]struct {
		own    time.Duration
		ctx    time.Duration
		inputs []Input
		want   time.Duration
	}{
		"text":              {0, 0, []Input{text}, time.Minute},
		"audio":             {0, 0, []Input{text, audio}, 10 * time.Minute},
		"of the client":     {time.Second, 0, []Input{audio}, time.Second},
		"of the context":    {time.Second, time.Hour, []Input{text}, time.Hour},
		"not beyond a week": {0, 1000 * time.Hour, []Input{text}, 7 * 24 * time.Hour},
	} {
		if client.settings.timeout = nil; try.own != 0 {
			client.settings.timeout = &try.own
		}
		ctx := t.Context()
		if try.ctx != 0 {
			limited, stop := context.WithTimeout(ctx, try.ctx)
			defer stop()
			ctx = limited
		}
		planned, err := client.call.plan("m", try.inputs, inlineBytes)
		if err != nil {
			t.Fatal(err)
		}
		ctx, _, cancel := client.begin(ctx, planned.request)
		deadline, _ := ctx.Deadline()
		cancel(nil)
		if got := time.Until(deadline); got > try.want || got < try.want-10*time.Second {
			t.Errorf("%s: got %v, want %v", name, got, try.want)
		}
	}
}

// A call that is too late, and one that is cancelled, are also those errors of package context.
func TestErrorsOfContext(t *testing.T) {
	client := serve(t, untilGone, WithTimeout(50*time.Millisecond))
	_, err := client.Models(t.Context())
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, DeadlineExceededError) {
		t.Errorf("late: got %v", err)
	}
	if errors.Is(err, context.Canceled) || status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("late, and the code of gRPC is %v", status.Code(err))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, err = range client.Stream(ctx, "m", Text{Value: "a"}) {
		cancel()
	}
	if !errors.Is(err, context.Canceled) || !errors.Is(err, RequestError) {
		t.Errorf("cancelled: got %v", err)
	}
}

// The server sees the credentials and the request id that the error names.
func TestMetadata(t *testing.T) {
	var seen metadata.MD
	client := serve(t, func(ctx context.Context) error {
		seen, _ = metadata.FromIncomingContext(ctx)
		return status.Error(codes.Internal, "on purpose")
	}, WithToken("t0ken"), WithUpstreamAPIKey("k3y"))
	_, err := client.Models(metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-1-2-01"))
	var failed *Error
	if !errors.As(err, &failed) || failed.Kind != GatewayError || failed.Message != "on purpose" {
		t.Fatalf("got %v", err)
	}
	for name, want := range map[string]string{
		"authorization": "Bearer t0ken", "x-upstream-api-key": "k3y", "x-request-id": failed.RequestID,
		"traceparent": "00-1-2-01",
	} {
		if got := strings.Join(seen.Get(name), ","); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if agent := strings.Join(seen.Get("user-agent"), ""); !strings.HasPrefix(agent, "embedwire-go/"+Version+" ") {
		t.Errorf("the user agent is %q", agent)
	}
}

// endless is a file without an end, and counts what was read of it.
type endless struct{ count atomic.Int64 }

func (e *endless) Read(data []byte) (int, error) {
	e.count.Add(int64(len(data)))
	return len(data), nil
}

// A call that is left or cancelled leaves no goroutine behind, nor reads on.
func TestNothingIsLeftBehind(t *testing.T) {
	client := serve(t, untilGone)
	for range client.Stream(t.Context(), "m", Text{Value: "a"}) { // connects
		break
	}
	before := runtime.NumGoroutine()
	for range 20 {
		for range client.Stream(t.Context(), "m", Text{Value: "a"}) {
			break
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		file := &endless{}
		if _, err := client.Embed(ctx, "m", Image{Source: Reader(file)}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		cancel()
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// A reader that fails in the middle is the error of the call, as it is, also where it fails with an unexpected end.
func TestReadersThatFail(t *testing.T) {
	client := serve(t, untilGone)
	for _, want := range []error{errors.New("no disk"), io.ErrUnexpectedEOF} {
		file := io.MultiReader(strings.NewReader(strings.Repeat("a", 300_000)), failing{want})
		if _, err := client.Embed(t.Context(), "m", Image{Source: Reader(file)}); err != want {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }
