package embedwire

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

// Maximum wait, at the end of a run, for the goroutine that ranges over the inputs. It normally ends within this time.
const iteratorPatience = 100 * time.Millisecond

var errExited = errors.New("embedwire: the iterator of the inputs has ended its goroutine")

// A run is one use of Map. One goroutine reads the inputs, one schedules the calls (loop), and each call has its own.
type run struct {
	mapping
	client *Client // with the options of the run
	model  string
	inputs iter.Seq[Input]
	ctx    context.Context
	cancel context.CancelFunc
	ahead  chan struct{}  // one for each input that was read and whose embedding was not received by the loop
	out    chan Embedding // has capacity for all of these, so that senders never block

	arrivals      chan *item           // from the goroutine that reads
	last          atomic.Pointer[item] // last input that it read
	reading       chan ending          // end of reading
	isReadingOver chan struct{}        // closed at the end of reading
	ended         chan *sending        // calls that have ended

	// Only loop uses the following fields; end may be read after out is closed.
	queue    queue
	pace     pacer
	arrived  int       // number of inputs that have arrived
	isRead   bool      // whether all inputs were read
	deadline time.Time // of the run, without its pauses; zero: none
	end      ending
}

// An ending is the end of the inputs or of the run: an error, a panic of the iterator, or neither.
type ending struct {
	err      error
	panicked any
}

func (r *run) start(ctx context.Context) {
	r.ctx, r.cancel = context.WithCancel(ctx)
	if r.runTimeout > 0 {
		r.deadline = time.Now().Add(r.runTimeout)
	}
	go r.read()
	go r.loop()
}

// stop ends the run and its goroutines.
func (r *run) stop() {
	r.cancel()
	for range r.out { // until loop closes it
	}
	r.waitForReading()
}

// waitForReading waits for the end of reading, unless the iterator or a file blocks.
func (r *run) waitForReading() {
	select {
	case <-r.isReadingOver:
	case <-time.After(iteratorPatience):
	}
}

// read reads the inputs and reports the end of reading.
func (r *run) read() {
	defer close(r.isReadingOver)
	end := ending{err: errExited} // runtime.Goexit leaves it
	defer func() {
		if panicked := recover(); panicked != nil {
			end = ending{panicked: panicked}
		}
		r.reading <- end
	}()
	end.err = r.readInputs()
}

// readInputs ranges over the inputs, as far ahead as allowed. The end of the context is an error.
func (r *run) readInputs() error {
	if err := r.waitForRoom(); err != nil {
		return err
	}
	position := 0
	for input := range r.inputs {
		if input == nil {
			return notAnInput(position)
		}
		found := newItem(position, input, r.inputsPerCall)
		r.last.Store(found) // before examine, which may block
		found.examine()
		select {
		case r.arrivals <- found:
		case <-r.ctx.Done():
			return r.contextError()
		}
		if err := r.waitForRoom(); err != nil {
			return err
		}
		position++
	}
	return nil
}

func (r *run) waitForRoom() error {
	select {
	case r.ahead <- struct{}{}:
		return nil
	case <-r.ctx.Done():
		return r.contextError()
	}
}

func (r *run) contextError() error { return fromStatus(status.FromContextError(r.ctx.Err()), "") }

// loop schedules the calls until the run is over: it sends what may be sent, then waits for the next event.
func (r *run) loop() {
	defer close(r.out)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		if r.countWaits {
			r.expire(now)
		}
		if r.isRead && r.pace.running == 0 && r.queue.isEmpty() {
			return
		}
		if err := r.interruption(now); err != nil {
			r.cutOff(err)
			return
		}
		r.send(now)
		timer.Reset(r.nextWake(now).Sub(now))
		select {
		case found := <-r.arrivals:
			r.arrived++
			r.queue.add(found)
		case r.end = <-r.reading:
			r.isRead = true
		case call := <-r.ended:
			r.pace.ended(time.Now(), call)
			r.queue.putBack(call.again)
		case <-timer.C:
		case <-r.ctx.Done():
		case <-r.client.connections.closed:
		}
	}
}

// send starts every call that may be sent now.
func (r *run) send(now time.Time) {
	for r.pace.maySend(now) {
		items := r.queue.take(now, r.isRead)
		if items == nil {
			return
		}
		r.pace.running++
		call := &sending{run: r, items: items, began: now}
		go func() {
			call.do()
			r.ended <- call
		}()
	}
}

// nextWake returns the next time at which loop has to act if no event arrives before.
func (r *run) nextWake(now time.Time) time.Time {
	wake := now.Add(time.Hour)
	candidates := []time.Time{r.runDeadline()}
	if r.countWaits {
		candidates = append(candidates, r.queue.deadline)
	}
	if place, isKnown := r.pace.place(); isKnown && !r.queue.isEmpty() {
		candidates = append(candidates, latest(place, r.queue.due()))
	}
	for _, candidate := range candidates {
		if !candidate.IsZero() && candidate.Before(wake) {
			wake = candidate
		}
	}
	return wake
}

// runDeadline returns the deadline of the run, extended by its pauses; zero if there is none.
func (r *run) runDeadline() time.Time {
	if r.deadline.IsZero() || r.countWaits {
		return r.deadline
	}
	return r.deadline.Add(r.pace.paused)
}

// isPast reports whether the deadline of a context has passed.
func isPast(ctx context.Context, now time.Time) bool {
	deadline, ok := ctx.Deadline()
	return ok && !now.Before(deadline)
}

// interruption returns the error that ends the run early, if there is one.
func (r *run) interruption(now time.Time) error {
	deadline := r.runDeadline()
	switch {
	case r.client.connections.isClosed():
		return ErrClosed
	case r.ctx.Err() != nil:
		return r.contextError()
	case isPast(r.ctx, now): // its timer may be late, and calls have ended with this error
		return fromStatus(status.FromContextError(context.DeadlineExceeded), "")
	case !deadline.IsZero() && !now.Before(deadline):
		return late("the run did not end within its timeout")
	}
	return nil
}

// cutOff ends the calls, and ends the run with this error unless all inputs have ended. At a deadline, the other inputs
// fail with it.
func (r *run) cutOff(err error) {
	r.cancel()
	left := slices.Concat(r.queue.open, r.queue.uploads)
	for ; r.pace.running > 0; r.pace.running-- {
		left = append(left, (<-r.ended).again...)
	}
	r.waitForReading()
	if last := r.last.Load(); last != nil && last.position >= r.arrived {
		left = append(left, last)
	}
	if r.isRead && len(left) == 0 {
		return
	}
	r.end.err = err
	var failure *Error
	if errors.As(err, &failure) && failure.Kind == ErrDeadlineExceeded {
		for _, item := range left {
			r.fail(item, failure)
		}
	}
}

// expire ends the inputs whose deadline passes before they can be sent again.
func (r *run) expire(now time.Time) {
	for _, item := range r.queue.removeLate(latest(now, r.pace.until)) {
		r.fail(item, late("the deadline passed while the server rejected this input"))
	}
}

// finish yields the embedding of an input, once.
func (r *run) finish(item *item, embedding Embedding) {
	if item.isEnded {
		return
	}
	item.isEnded = true
	embedding.Result.InputIndex = item.position
	for _, segment := range embedding.Segments {
		segment.InputIndex = item.position
	}
	r.out <- embedding
}

// fail yields the failure of an input that has no result.
func (r *run) fail(item *item, failure *Error) {
	failure = failure.withTask(item.task)
	r.finish(item, Embedding{Result: &Result{
		InputKey: item.key(), Attempts: failure.Attempts, RequestID: failure.RequestID, Err: failure,
	}})
}

func late(message string) *Error {
	return failed(codes.DeadlineExceeded, pb.ErrorReason_ERROR_REASON_DEADLINE_EXCEEDED, message, "")
}
