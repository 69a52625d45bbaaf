package embedwire

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A run that is left ends its calls and its goroutines, and the iterator.
func TestMapThatIsLeft(t *testing.T) {
	var calls atomic.Int32
	client := serve(t, func(call *exchange) error {
		if call.method == "ListModels" {
			return nil
		}
		calls.Add(1)
		defer calls.Add(-1)
		call.send(aSegment(0), aResult(0, nil))
		return untilGone(call)
	})
	if _, err := client.Models(t.Context()); err != nil { // connects
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	var isClosed atomic.Bool
	inputs := func(yield func(Input) bool) {
		defer isClosed.Store(true)
		for yield(Text{Value: "a"}) {
		}
	}
	for range 10 {
		isClosed.Store(false)
		for range client.Map(t.Context(), "m", inputs, WithInputsPerCall(2)) {
			break
		}
		until(t, isClosed.Load)
	}
	until(t, func() bool { return calls.Load() == 0 })
	waitForGoroutines(t, before)
}

// Closing the client ends a run with ErrClosed: nothing that waits is sent any more.
func TestMapOfAClientThatIsClosed(t *testing.T) {
	began := make(chan struct{}, 10)
	client := serve(t, func(call *exchange) error {
		began <- struct{}{}
		return untilGone(call)
	})
	go func() {
		<-began
		client.Close()
	}()
	run := client.Map(t.Context(), "m", texts(100), WithInputsPerCall(1), WithConcurrentCalls(1))
	for range 2 { // running, and closed before
		if found := outcomeOf(run); found.err != ErrClosed || len(found.failures) > 0 {
			t.Errorf("got %v", found)
		}
	}
	if len(began) > 0 {
		t.Error("there was a second call")
	}
}

// So it is whenever the client is closed, also between the calls of a run.
func TestMapOfAClientThatIsClosedAtAnyTime(t *testing.T) {
	address := listen(t, succeed).String()
	for count := range 50 {
		client := clientOf(t, address)
		var taken int
		var last error
		for _, err := range client.Map(t.Context(), "m", texts(300), WithInputsPerCall(1)) {
			if taken, last = taken+1, err; taken == 1+count {
				go client.Close()
			}
		}
		if last != ErrClosed {
			t.Errorf("got %v after %d", last, taken)
		}
	}
}

// A context that is cancelled ends a run with that error.
func TestMapThatIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	client := serve(t, func(call *exchange) error {
		cancel()
		return untilGone(call)
	})
	found := outcomeOf(client.Map(ctx, "m", texts(3)))
	if !errors.Is(found.err, context.Canceled) || status.Code(found.err) != codes.Canceled || len(found.failures) > 0 {
		t.Errorf("got %v", found)
	}
}

// Reading that ends with the context is not taken for the end of the inputs.
func TestMapThatIsCancelledWhileItReads(t *testing.T) {
	run, err := serve(t, succeed).newRun("m", texts(1), nil)
	if err != nil {
		t.Fatal(err)
	}
	run.ctx, run.cancel = context.WithCancel(t.Context())
	run.cancel()
	run.read()
	if end := <-run.reading; !errors.Is(end.err, context.Canceled) {
		t.Errorf("got %v", end)
	}
}

// At the deadline of the context, and of the run, what was read ends with that failure, and the run with that error.
func TestMapThatIsLate(t *testing.T) {
	client := serve(t, untilGone)
	large := Text{Value: string(make([]byte, 2<<20))} // a call of its own, for which the others wait
	inputs := slices.Values([]Input{large, Text{Value: "b"}, Text{Value: "c"}})
	for name, try := range map[string]func(context.Context) (context.Context, MapOption){
		"context": func(ctx context.Context) (context.Context, MapOption) {
			ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
			t.Cleanup(cancel)
			return ctx, WithInputsPerCall(3)
		},
		"run": func(ctx context.Context) (context.Context, MapOption) {
			return ctx, WithRunTimeout(300 * time.Millisecond)
		},
	} {
		ctx, option := try(t.Context())
		found := outcomeOf(client.Map(ctx, "m", inputs, WithInputsPerCall(3), WithConcurrentCalls(1), option))
		if !errors.Is(found.err, ErrDeadlineExceeded) || !errors.Is(found.err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v", name, found.err)
		}
		for position := range 3 {
			if failure := found.failures[position]; failure == nil || failure.Reason != "DEADLINE_EXCEEDED" {
				t.Errorf("%s: inputs[%d]: got %v", name, position, failure)
			}
		}
	}
}

// An iterator that is not at its end at the deadline of the run is an error, also if all inputs before have ended.
func TestMapThatIsLateWithoutInputs(t *testing.T) {
	client := serve(t, succeed)
	freed := make(chan struct{})
	defer close(freed)
	blocked := func(yield func(Input) bool) {
		texts(1)(yield)
		<-freed
	}
	found := outcomeOf(client.Map(t.Context(), "m", blocked, WithRunTimeout(time.Second)))
	if !errors.Is(found.err, ErrDeadlineExceeded) || len(found.succeeded) != 1 {
		t.Errorf("got %v", found)
	}
}

// slowSeeker is a file whose first use takes longer than the run.
type slowSeeker struct {
	io.Reader
	freed chan struct{}
}

func (s slowSeeker) Seek(int64, int) (int64, error) {
	<-s.freed
	return 0, nil
}

// An input that was read has its failure at the deadline also while its file is being examined.
func TestMapThatIsLateWithASlowFile(t *testing.T) {
	client := serve(t, succeed)
	slow := slowSeeker{nil, make(chan struct{})}
	defer close(slow.freed)
	inputs := slices.Values([]Input{Image{Source: Reader(slow)}})
	found := outcomeOf(client.Map(t.Context(), "m", inputs, WithRunTimeout(50*time.Millisecond)))
	if failure := found.failures[0]; failure == nil || !errors.Is(found.err, ErrDeadlineExceeded) {
		t.Errorf("got %v", found)
	}
}

// A pause that the server asks for does not count against the timeout of the run, unless waits are counted.
func TestMapTimeoutAndPauses(t *testing.T) {
	for name, options := range map[string][]MapOption{"not counted": nil, "counted": {WithCountWaits()}} {
		var calls atomic.Int32
		client := serve(t, func(call *exchange) error {
			if calls.Add(1) == 1 {
				return rejected(rateLimitedReason, 1300*time.Millisecond)
			}
			return call.succeed()
		})
		found := outcomeOf(client.Map(t.Context(), "m", texts(2), append(options, WithRunTimeout(time.Second))...))
		if isLate := errors.Is(found.err, ErrDeadlineExceeded); isLate != (options != nil) {
			t.Errorf("%s: got %v", name, found)
		}
		if count := len(found.succeeded); count != 2*int(calls.Load()-1) {
			t.Errorf("%s: %d embeddings after %d calls", name, count, calls.Load())
		}
	}
}

// With counted waits, an input whose wait would outlast its deadline fails immediately.
func TestMapCountedWaits(t *testing.T) {
	client := serve(t, func(*exchange) error { return rejected(overloadedReason, time.Hour) })
	run := client.Map(t.Context(), "m", texts(2), WithCountWaits(), WithTimeout(time.Minute))
	found := outcomeOf(run)
	if found.err != nil || !errors.Is(found.failures[0], ErrDeadlineExceeded) || len(found.failures) != 2 {
		t.Errorf("got %v", found)
	}
}
