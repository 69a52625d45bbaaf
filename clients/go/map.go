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

// mapping is what the options of a run choose.
type mapping struct {
	callSettings
	inputsPerCall   int
	concurrentCalls int
	runTimeout      time.Duration // 0: none
	countWaits      bool
}

// WithInputsPerCall is a [MapOption]: the most inputs of a call, 16 by default, 1 to 256.
func WithInputsPerCall(count int) MapOption {
	return mapOption(func(m *mapping) {
		if m.inputsPerCall = count; count < 1 || count > mostInputsPerCall {
			m.err = refusal("inputs per call: must be 1 to %d, got %d", mostInputsPerCall, count)
		}
	})
}

// WithConcurrentCalls is a [MapOption]: the most calls that run at a time, 8 by default, 1 to 1000. The run makes fewer
// while the server has no capacity for more.
func WithConcurrentCalls(count int) MapOption {
	return mapOption(func(m *mapping) {
		if m.concurrentCalls = count; count < 1 || count > mostConcurrentCalls {
			m.err = refusal("concurrent calls: must be 1 to %d, got %d", mostConcurrentCalls, count)
		}
	})
}

// WithRunTimeout is a [MapOption]: the time of the whole run, not counting the pauses that the server asks for;
// none by default. It ends the run with an [ErrDeadlineExceeded].
func WithRunTimeout(timeout time.Duration) MapOption {
	return mapOption(func(m *mapping) {
		if m.runTimeout = timeout; timeout <= 0 {
			m.err = refusal("run timeout: must be more than 0, got %v", timeout)
		}
	})
}

// WithCountWaits is a [MapOption] that makes deadlines run while inputs wait to be sent again: that of the run, and that
// of each input, from its first call.
func WithCountWaits() MapOption { return mapOption(func(m *mapping) { m.countWaits = true }) }

// Map embeds any number of inputs in calls of several, and hands out one embedding for each as it arrives, in any order.
//
// InputIndex is the position of the input in the iterator, from 0. An input that fails has its failure in [Result.Err].
// What the server rejects because it has no capacity (OVERLOADED, RATE_LIMITED, DRAINING) is sent again until it is
// taken, which counts against no deadline; only an input that can be read once, and of which something was read, fails.
// Every input that was read from the iterator ends as an embedding or a failure, unless the run is ended early.
//
// A goroutine ranges over inputs, as far ahead as one round of calls. A panic in it is passed on after the embeddings of
// the inputs before, without its stack. Files are read in other goroutines, where a panic of a [Reader] ends the process.
// An error ends the run, and is the last thing that comes: that of an argument, of a nil input, of
// ctx, [ErrClosed], or an [ErrDeadlineExceeded] of the run. At a deadline, of the run or of ctx, the inputs that were
// read and have not ended are handed out with that failure before. Leaving the loop ends the run and its calls. A read
// of a source, or a step of the iterator, that is under way then is not waited for.
//
// Each range over it is one run. Each call has the timeout of [WithTimeout].
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

// newRun is a run that has not started. Its error is that of an argument.
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
