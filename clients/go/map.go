package embedwire

import (
	"context"
	"iter"
	"time"
)

const (
	mostInputsPerCall   = 256 // by the contract
	mostConcurrentCalls = 1000
)

// mapping is the options of a run.
type mapping struct {
	callSettings
	inputsPerCall   int
	concurrentCalls int
	runTimeout      time.Duration // 0: none
	countWaits      bool
}

// WithInputsPerCall is a [MapOption] that sets the maximum number of inputs of a call, 1 to 256; the default is 16.
func WithInputsPerCall(count int) MapOption {
	return mapOption(func(m *mapping) {
		if m.inputsPerCall = count; count < 1 || count > mostInputsPerCall {
			m.err = refusal("inputs per call: must be 1 to %d, got %d", mostInputsPerCall, count)
		}
	})
}

// WithConcurrentCalls is a [MapOption] that sets the maximum number of concurrent calls, 1 to 1000; the default is 8.
// The run makes fewer concurrent calls while the server is overloaded.
func WithConcurrentCalls(count int) MapOption {
	return mapOption(func(m *mapping) {
		if m.concurrentCalls = count; count < 1 || count > mostConcurrentCalls {
			m.err = refusal("concurrent calls: must be 1 to %d, got %d", mostConcurrentCalls, count)
		}
	})
}

// WithRunTimeout is a [MapOption] that sets the timeout of the whole run; the default is none. Pauses after rejections
// do not count, unless [WithCountWaits] is given. At its end the run fails with an [ErrDeadlineExceeded].
func WithRunTimeout(timeout time.Duration) MapOption {
	return mapOption(func(m *mapping) {
		if m.runTimeout = timeout; timeout <= 0 {
			m.err = refusal("run timeout: must be more than 0, got %v", timeout)
		}
	})
}

// WithCountWaits is a [MapOption] that counts the waits after rejections against the deadlines: that of the run, and
// that of each input, which starts with its first call.
func WithCountWaits() MapOption { return mapOption(func(m *mapping) { m.countWaits = true }) }

// Map embeds any number of inputs in concurrent calls of several inputs each, and yields one embedding for each input,
// in the order of arrival.
//
// InputIndex is the position of the input in the iterator, from 0. The failure of an input is in [Result.Err]. Inputs
// that the server rejects (OVERLOADED, RATE_LIMITED, DRAINING) are sent again until the server accepts them; these
// waits count against no deadline unless [WithCountWaits] is given. An input that can be read only once, and of which
// something was read, fails instead, as does an input for which the upstream has created a task: its failure has the
// identifier, which can be the source of another input (see [Task]). Each input that was read from the iterator ends as
// an embedding or a failure, unless the run ends early.
//
// A goroutine ranges over inputs, at most one round of calls ahead of the loop. A panic in the iterator reaches the
// loop after the embeddings of the inputs before it, without its stack. Files are read in other goroutines; a panic of
// a [Reader] there ends the process.
//
// An error ends the run and is yielded last: an invalid argument, a nil input, the end of ctx, [ErrClosed], or an
// [ErrDeadlineExceeded] of the run. At the deadline of the run or of ctx, the inputs that were read and have not ended
// are yielded with that failure first. Leaving the loop ends the run and cancels its calls. The run does not wait for a
// read of a source or a step of the iterator that still runs.
//
// Each range over the iterator is one run. Each call has the timeout of [WithTimeout].
func (c *Client) Map(
	ctx context.Context, model string, inputs iter.Seq[Input], options ...MapOption,
) iter.Seq2[Embedding, error] {
	return func(yield func(Embedding, error) bool) {
		run, err := c.newRun(model, inputs, options)
		if err != nil {
			yield(Embedding{}, err)
			return
		}
		run.start(ctx)
		defer run.stop()
		for embedding := range run.out {
			<-run.ahead
			if !yield(embedding, nil) {
				return
			}
		}
		if run.end.panicked != nil {
			panic(run.end.panicked)
		}
		if run.end.err != nil {
			yield(Embedding{}, run.end.err)
		}
	}
}

// newRun returns a run that has not started. The error is that of an invalid argument.
func (c *Client) newRun(model string, inputs iter.Seq[Input], options []MapOption) (*run, error) {
	chosen := mapping{callSettings: c.settings.callSettings, inputsPerCall: 16, concurrentCalls: 8}
	for _, option := range options {
		option.forMap(&chosen)
	}
	client := *c
	client.settings.callSettings = chosen.callSettings
	client.settings.retryOnPushback = false // the run itself sends again
	if inputs == nil {
		return nil, refusal("inputs: must not be nil")
	}
	if _, err := client.newPlan(model); err != nil {
		return nil, err
	}
	most := chosen.inputsPerCall * chosen.concurrentCalls
	return &run{
		client: &client, model: model, inputs: inputs, mapping: chosen,
		pace:  pacer{most: float64(chosen.concurrentCalls), allowed: float64(chosen.concurrentCalls)},
		ahead: make(chan struct{}, most), out: make(chan Embedding, most),
		arrivals: make(chan *item), ended: make(chan *sending), reading: make(chan ending, 1),
		isReadingOver: make(chan struct{}),
	}, nil
}
