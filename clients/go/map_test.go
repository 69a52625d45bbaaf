package embedwire

import (
	"errors"
	"iter"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

const (
	overloadedReason  = pb.ErrorReason_ERROR_REASON_OVERLOADED
	rateLimitedReason = pb.ErrorReason_ERROR_REASON_RATE_LIMITED
)

// rejected is the status of a call that the server rejects, and wants back after this delay.
func rejected(reason pb.ErrorReason, delay time.Duration) error {
	failure := &pb.Failure{Code: int32(codes.ResourceExhausted), Reason: reason, RetryDelay: durationpb.New(delay)}
	said, err := status.New(codes.ResourceExhausted, "on purpose").WithDetails(failure)
	if err != nil {
		return err
	}
	return said.Err()
}

func succeed(call *exchange) error { return call.succeed() }

// texts yields a number of inputs.
func texts(count int) iter.Seq[Input] {
	return slices.Values(slices.Repeat([]Input{Text{Value: "a"}}, count))
}

// outcome is what a run gave: the positions of successes and of failures, and the error.
type outcome struct {
	succeeded []int
	failures  map[int]*Error
	err       error
}

func outcomeOf(run iter.Seq2[Embedding, error]) outcome {
	found := outcome{failures: map[int]*Error{}}
	for embedding, err := range run {
		if err != nil {
			found.err = err
			break
		}
		result := embedding.Result
		if failure, ok := result.Err.(*Error); ok {
			found.failures[result.InputIndex] = failure
		} else {
			found.succeeded = append(found.succeeded, result.InputIndex)
		}
	}
	slices.Sort(found.succeeded)
	return found
}

// The iterator is read only so far ahead of what the consumer takes as one round of calls has inputs.
func TestMapBoundsTheReading(t *testing.T) {
	client := serve(t, succeed)
	var read atomic.Int64
	endless := func(yield func(Input) bool) {
		for read.Add(1); yield(Text{Value: "a"}); read.Add(1) {
		}
	}
	taken := int64(0)
	for _, err := range client.Map(t.Context(), "m", endless, WithInputsPerCall(2), WithConcurrentCalls(3)) {
		if err != nil {
			t.Fatal(err)
		}
		taken++
		until(t, func() bool { return read.Load() >= taken+6 })
		if ahead := read.Load() - taken; ahead > 6 {
			t.Fatalf("%d inputs ahead", ahead)
		}
		if taken == 20 {
			break
		}
	}
}

// until waits for a condition that comes true sooner or later.
func until(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("this never came true")
		}
	}
}

// An iterator that waits does not delay the embedding of an input that it gave before, although the group is not full.
func TestMapWithASlowIterator(t *testing.T) {
	client := serve(t, succeed)
	taken := make(chan struct{})
	slow := func(yield func(Input) bool) {
		for range 3 {
			if !yield(Text{Value: "a"}) {
				return
			}
			<-taken
		}
	}
	count := 0
	for _, err := range client.Map(t.Context(), "m", slow) {
		if err != nil {
			t.Fatal(err)
		}
		count++
		taken <- struct{}{}
	}
	if count != 3 {
		t.Errorf("%d embeddings", count)
	}
}

// A panic of the iterator reaches the consumer after the embeddings of the inputs before it.
func TestMapWithAnIteratorThatPanics(t *testing.T) {
	client := serve(t, succeed)
	count := 0
	defer func() {
		if panicked := recover(); panicked != "on purpose" || count != 2 {
			t.Errorf("got %v after %d embeddings", panicked, count)
		}
	}()
	panics := func(yield func(Input) bool) {
		texts(2)(yield)
		panic("on purpose")
	}
	for _, err := range client.Map(t.Context(), "m", panics) {
		if err != nil {
			t.Error(err)
		}
		count++
	}
}

// An iterator that ends its goroutine, as a failed assertion does, is an error and not the end of the inputs.
func TestMapWithAnIteratorThatExits(t *testing.T) {
	client := serve(t, succeed)
	exits := func(yield func(Input) bool) {
		texts(2)(yield)
		runtime.Goexit()
	}
	if found := outcomeOf(client.Map(t.Context(), "m", exits)); found.err != errExited || len(found.succeeded) != 2 {
		t.Errorf("got %v", found)
	}
}

// What is not an input is an argument error that names its position, after the embeddings of the inputs before it.
func TestMapWithWhatIsNotAnInput(t *testing.T) {
	client := serve(t, succeed)
	found := outcomeOf(client.Map(t.Context(), "m", slices.Values([]Input{Text{Value: "a"}, nil, Text{Value: "c"}})))
	if !errors.Is(found.err, ErrArgument) || len(found.succeeded) != 1 {
		t.Fatalf("got %v", found)
	}
	if want := "embedwire: invalid argument: inputs[1]: must be a Text, an Image or an Audio, got nil"; found.err.Error() != want {
		t.Errorf("got %v", found.err)
	}
}

// Invalid options, an invalid model and no iterator are argument errors, before anything is read.
func TestMapArguments(t *testing.T) {
	client := serve(t, succeed)
	unread := func(func(Input) bool) { t.Error("the iterator was read") }
	for name, run := range map[string]iter.Seq2[Embedding, error]{
		"no inputs per call":         client.Map(t.Context(), "m", unread, WithInputsPerCall(0)),
		"too many inputs per call":   client.Map(t.Context(), "m", unread, WithInputsPerCall(257)),
		"no calls":                   client.Map(t.Context(), "m", unread, WithConcurrentCalls(0)),
		"too many calls":             client.Map(t.Context(), "m", unread, WithConcurrentCalls(1001)),
		"no time":                    client.Map(t.Context(), "m", unread, WithRunTimeout(0)),
		"option of a call":           client.Map(t.Context(), "m", unread, WithMaxRetries(-1)),
		"option of a call of before": client.With(WithChunkBytes(0)).Map(t.Context(), "m", unread),
		"model":                      client.Map(t.Context(), "\xff", unread),
		"nil":                        client.Map(t.Context(), "m", nil),
	} {
		if found := outcomeOf(run); !errors.Is(found.err, ErrArgument) {
			t.Errorf("%s: got %v", name, found.err)
		}
	}
}

// What an overloaded server rejects is sent again after the delay, also while a long call runs.
func TestMapBesideALongCall(t *testing.T) {
	var calls atomic.Int32
	isRunning := make(chan struct{})
	source := newBlocked()
	client := serve(t, func(call *exchange) error {
		if call.method == "CreateEmbeddingFromUpload" {
			close(isRunning)
		} else if <-isRunning; calls.Add(1) == 1 {
			return rejected(overloadedReason, time.Millisecond)
		}
		return call.succeed()
	})
	inputs := slices.Values([]Input{Image{Source: Reader(source)}, Text{Value: "a"}})
	count := 0
	for _, err := range client.Map(t.Context(), "m", inputs) {
		if err != nil {
			t.Fatal(err)
		}
		if count++; count == 1 {
			close(source.freed) // the text came first
		}
	}
	if count != 2 || calls.Load() != 2 {
		t.Errorf("%d embeddings, %d calls", count, calls.Load())
	}
}

// Everything is embedded by a server that has capacity for two calls, which are not exceeded by much for long.
func TestMapAtAServerThatIsFull(t *testing.T) {
	var running, rejections atomic.Int32
	client := serve(t, func(call *exchange) error {
		defer running.Add(-1)
		if running.Add(1) > 2 {
			rejections.Add(1)
			return rejected(overloadedReason, 10*time.Millisecond)
		}
		return call.succeed()
	})
	found := outcomeOf(client.Map(t.Context(), "m", texts(300), WithInputsPerCall(1), WithConcurrentCalls(30)))
	if found.err != nil || len(found.succeeded) != 300 || rejections.Load() > 300 {
		t.Errorf("%d embeddings, %d rejections, %v", len(found.succeeded), rejections.Load(), found.err)
	}
}
