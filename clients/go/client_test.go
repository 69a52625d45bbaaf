package embedwire

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

// A call without a deadline gets what its inputs need, or what the client says; that of the context goes first.
func TestDeadlines(t *testing.T) {
	text, audio, sync := Text{Value: "a"}, Audio{Source: URL("http://a.test/a")}, Audio{Source: URL("http://a.test/a")}
	sync.ProcessingMode = ProcessingModeSync
	for name, try := range map[string]struct {
		own    []CallOption
		ctx    time.Duration
		inputs []Input
		want   time.Duration
	}{
		"text":              {nil, 0, []Input{text}, time.Minute},
		"image":             {nil, 0, []Input{Image{Source: Asset("a")}}, time.Minute},
		"audio":             {nil, 0, []Input{text, audio}, time.Hour},
		"synchronous":       {nil, 0, []Input{sync, text}, 10 * time.Minute},
		"synchronous too":   {nil, 0, []Input{audio, sync}, time.Hour},
		"earlier task":      {nil, 0, []Input{Audio{Source: Task("t")}}, time.Hour},
		"of the client":     {[]CallOption{WithTimeout(time.Second)}, 0, []Input{audio}, time.Second},
		"of the context":    {[]CallOption{WithTimeout(time.Second)}, time.Hour, []Input{text}, time.Hour},
		"not beyond a week": {nil, 1000 * time.Hour, []Input{text}, 7 * 24 * time.Hour},
	} {
		ctx := t.Context()
		if try.ctx != 0 {
			limited, stop := context.WithTimeout(ctx, try.ctx)
			defer stop()
			ctx = limited
		}
		var got time.Duration
		client := serve(t, func(call *exchange) error {
			deadline, _ := call.Deadline()
			got = time.Until(deadline)
			return call.succeed()
		})
		if _, err := client.With(try.own...).Embed(ctx, "m", try.inputs...); err != nil {
			t.Fatal(err)
		}
		if got > try.want || got < try.want-10*time.Second {
			t.Errorf("%s: got %v, want %v", name, got, try.want)
		}
	}
}

// A call that is too late, and one that is cancelled, are also those errors of package context.
func TestErrorsOfContext(t *testing.T) {
	client := serve(t, func(call *exchange) error {
		call.send(aSegment(0))
		return untilGone(call)
	})
	_, err := client.With(WithTimeout(50 * time.Millisecond)).Models(t.Context())
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrDeadlineExceeded) || !errors.Is(err, ErrRequest) {
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
	if !errors.Is(err, context.Canceled) || !errors.Is(err, ErrRequest) || errors.Is(err, ErrDeadlineExceeded) {
		t.Errorf("cancelled: got %v", err)
	}
}

// A single text is embedded by the unary call, everything else by a stream.
func TestTheUnaryCallIsChosen(t *testing.T) {
	var methods []string
	client := serve(t, func(call *exchange) error {
		methods = append(methods, call.method)
		return call.succeed()
	})
	text, image := Text{Value: "a"}, Image{Source: Data([]byte("a"))}
	for _, inputs := range [][]Input{{text}, {&text}, {image}, {text, text}} {
		embeddings, err := client.Embed(t.Context(), "m", inputs...)
		if err != nil || len(embeddings) != len(inputs) || embeddings[0].Segments[0].Vector[0] != 1 {
			t.Errorf("got %v, %v", embeddings, err)
		}
	}
	for _, err := range client.Stream(t.Context(), "m", text) {
		if err != nil {
			t.Error(err)
		}
	}
	unary, stream := "CreateEmbeddingUnary", "CreateEmbedding"
	if want := []string{unary, unary, stream, stream, stream}; !slices.Equal(methods, want) {
		t.Errorf("got %v, want %v", methods, want)
	}
}

// The server sees the credentials and the request id that the error names.
func TestMetadata(t *testing.T) {
	var seen metadata.MD
	client := serve(t, func(call *exchange) error {
		seen, _ = metadata.FromIncomingContext(call)
		return status.Error(codes.Internal, "on purpose")
	}, WithToken("t0ken"), WithUpstreamAPIKey("k3y"))
	_, err := client.Models(metadata.AppendToOutgoingContext(t.Context(), "x-of-the-caller", "yes"))
	var failed *Error
	if !errors.As(err, &failed) || failed.Kind != ErrTransport || failed.Message != "on purpose" {
		t.Fatalf("got %v", err)
	}
	for name, want := range map[string]string{
		"authorization": "Bearer t0ken", "x-upstream-api-key": "k3y", "x-request-id": failed.RequestID,
		"x-of-the-caller": "yes",
	} {
		if got := strings.Join(seen.Get(name), ","); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if agent := strings.Join(seen.Get("user-agent"), ""); !strings.HasPrefix(agent, "embedwire-go/"+Version+" ") {
		t.Errorf("the user agent is %q", agent)
	}
}

// An error keeps every detail of the status for gRPC's own functions, and that of an input has its failure there.
func TestDetailsOfTheStatus(t *testing.T) {
	failure := &pb.Failure{Code: int32(codes.NotFound), Reason: pb.ErrorReason_ERROR_REASON_RESOURCE_NOT_FOUND, Attempts: 2}
	said, err := status.New(codes.NotFound, "no").WithDetails(&errdetails.ErrorInfo{Domain: "d"}, failure)
	if err != nil {
		t.Fatal(err)
	}
	client := serve(t, func(call *exchange) error {
		if len(call.request.Inputs) == 1 {
			return said.Err()
		}
		return call.send(aResult(0, failure), aResult(1, nil))
	})
	text := Text{Value: "a"}
	_, err = client.Embed(t.Context(), "m", text)
	found, _ := status.FromError(err)
	if info, ok := found.Details()[0].(*errdetails.ErrorInfo); !ok || info.Domain != "d" || len(found.Details()) != 2 {
		t.Errorf("got %v", found.Details())
	}
	var failed *Error
	if !errors.As(err, &failed) || failed.Attempts != 2 || failed.Reason != "RESOURCE_NOT_FOUND" {
		t.Errorf("got %#v", err)
	}
	embeddings, err := client.Embed(t.Context(), "m", text, text)
	if err != nil {
		t.Fatal(err)
	}
	found, _ = status.FromError(embeddings[0].Result.Err)
	if detail, ok := found.Details()[0].(*pb.Failure); !ok || detail.Reason != failure.Reason || found.Code() != codes.NotFound {
		t.Errorf("got %v", found)
	}
}

// The code is that of the server's failure, also where a proxy changed that of the call; grpc itself then drops the
// details, and prints them into the message.
func TestCodesThatAProxyChanged(t *testing.T) {
	failure := &pb.Failure{Code: int32(codes.InvalidArgument), Reason: pb.ErrorReason_ERROR_REASON_INVALID_REQUEST}
	said, err := status.New(codes.InvalidArgument, "no").WithDetails(failure, &errdetails.ErrorInfo{Domain: "d"})
	if err != nil {
		t.Fatal(err)
	}
	bare, err := status.New(codes.NotFound, "a").WithDetails(&errdetails.ErrorInfo{Domain: "d"})
	if err != nil {
		t.Fatal(err)
	}
	changed := said.Proto()
	changed.Code = int32(codes.Canceled)
	for name, try := range map[string]struct {
		sent   *status.Status // the status of the call
		inside *status.Status // its details, if they are another one
		code   codes.Code
		kind   Kind
	}{
		"both":                  {status.FromProto(changed), nil, codes.InvalidArgument, ErrRequest},
		"that of the call":      {status.New(codes.Canceled, "no"), said, codes.InvalidArgument, ErrRequest},
		"without a failure":     {status.New(codes.Canceled, "no"), bare, codes.NotFound, ErrTransport},
		"a failure without one": {status.New(codes.Canceled, "no"), status.New(codes.OK, "a"), codes.Internal, ErrTransport},
	} {
		client := serve(t, func(call *exchange) error {
			if try.inside != nil {
				data, err := proto.Marshal(try.inside.Proto())
				if err != nil {
					return err
				}
				grpc.SetTrailer(call, metadata.Pairs(detailsKey, string(data)))
			}
			return try.sent.Err()
		})
		for way, call := range ways {
			err := call(t.Context(), client)
			var failed *Error
			if !errors.As(err, &failed) || failed.Code != try.code || failed.Kind != try.kind {
				t.Errorf("%s, %s: got %#v", name, way, err)
				continue
			}
			said, _ := status.FromError(err)
			if errors.Is(err, context.Canceled) || said.Code() != try.code || len(said.Message()) > 2 {
				t.Errorf("%s, %s: got %v", name, way, said)
			}
			if try.kind == ErrRequest && len(said.Details()) != 2 {
				t.Errorf("%s, %s: the details are %v", name, way, said.Details())
			}
		}
	}
}

// As JSON, everything has the names of the contract.
func TestJSON(t *testing.T) {
	failure := broken("id", "no")
	failure.Violations = []FieldViolation{{"f", "d"}}
	failure.UpstreamTaskID = "t"
	end := 1.5
	for want, value := range map[string]any{
		`{"kind":"GatewayError","code":13,"reason":"INTERNAL","message":"no","field_violations":[{"field":"f",` +
			`"description":"d"}],"attempts":0,"request_id":"id","upstream_task_id":"t"}`: failure,
		`{"input_index":1,"input_key":"k","stage":"processing","upstream_task_id":"t"}`: &Progress{
			InputIndex: 1, InputKey: "k", Stage: ProcessingStage, UpstreamTaskID: "t",
		},
		`{"input_index":1,"input_key":"k","segment_index":2,"modality":"audio","vector":[0.5,-1],"start_offset_sec":0,` +
			`"end_offset_sec":1.5,"embedding_option":"audio","embedding_scope":"clip","uncertainty":[0.25,1]}`: &Segment{
			InputIndex: 1, InputKey: "k", SegmentIndex: 2, Modality: AudioModality, Vector: []float32{0.5, -1},
			EndOffsetSec: &end, EmbeddingOption: "audio", EmbeddingScope: "clip", Uncertainty: []float32{0.25, 1},
		},
		`{"result":{"input_index":0,"input_key":"","model_name":"","dimensions":0,"segment_count":0,"attempts":0,` +
			`"timings":{"queue":0,"upload":0,"upstream":1000,"decode":0},"upstream":"","request_id":"","failure":{"kind":` +
			`"GatewayError","code":13,"reason":"INTERNAL","message":"late","attempts":0},"cache_status":"miss"},"segments":null}`: Embedding{
			Result: &Result{Timings: Timings{Upstream: time.Microsecond}, CacheStatus: CacheMiss, Err: broken("", "late")},
		},
	} {
		if got, err := json.Marshal(value); err != nil || string(got) != want {
			t.Errorf("got %s, %v", got, err)
		}
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
	client := serve(t, func(call *exchange) error {
		call.send(aSegment(0))
		return untilGone(call)
	})
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
	waitForGoroutines(t, before)
}

// waitForGoroutines fails unless no more than these are left after some time.
func waitForGoroutines(t *testing.T, most int) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > most; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before: %s", runtime.NumGoroutine(), most, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// A reader that fails in the middle is the error of the call, also where it fails with an unexpected end.
func TestReadersThatFail(t *testing.T) {
	client := serve(t, untilGone)
	for _, want := range []error{errors.New("no disk"), io.ErrUnexpectedEOF} {
		file := io.MultiReader(strings.NewReader(strings.Repeat("a", 300_000)), failing{want})
		if _, err := client.Embed(t.Context(), "m", Image{Source: Reader(file)}); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }
