package embedwire

import (
	"cmp"
	"context"
	"errors"
	"time"
)

// Maximum wait for the end of the earlier read of a source that can be read again.
const sourcePatience = time.Second

// A sending is one call of a run.
type sending struct {
	run        *run
	items      []*item // its inputs
	began      time.Time
	isAnswered bool // whether the server worked on the call, successfully or not
	rejections []rejection
	again      []*item // inputs to be sent again
}

// isAnswered reports whether a call succeeded, or failed after the server worked on it.
func isAnswered(err error) bool {
	var failed *Error
	return err == nil || errors.As(err, &failed) && failed.Reason != "" && failed.Reason != "CANCELLED" && !errors.Is(err, ErrDeadlineExceeded)
}

// do makes the call. Afterwards each input has ended, or is in again.
func (s *sending) do() {
	defer func() { s.again = s.open() }()
	planned, err := s.plan()
	if err == nil && len(s.items) == 0 {
		return
	}
	if err == nil {
		err = s.call(planned)
		s.isAnswered = isAnswered(err)
	}
	if s.run.ctx.Err() != nil || s.run.client.connections.isClosed() { // the run is over
		return
	}
	s.judge(err, planned.requestID)
	for _, upload := range planned.uploads {
		if item := s.items[upload.index]; !item.isEnded && !s.isRepeatable(planned.stopped, upload) {
			s.run.fail(item, cmp.Or(item.failure, broken(planned.requestID, "the file cannot be sent again")))
		}
	}
}

// plan encodes the inputs. Invalid inputs end here. The end of the run does not wait for files.
func (s *sending) plan() (*plan, error) {
	planned, err := s.run.client.newPlan(s.run.model)
	if err != nil {
		return nil, err
	}
	encoded := make(chan map[*item]error, 1)
	go func() {
		faults := map[*item]error{}
		for _, item := range s.items {
			if err := planned.add(item.input, item.file); err != nil {
				faults[item] = err
			}
		}
		encoded <- faults
	}()
	select {
	case faults := <-encoded:
		for item, err := range faults {
			s.run.fail(item, unusable(item, err))
		}
		s.items = s.open()
		return planned, nil
	case <-s.run.ctx.Done():
		return nil, s.run.ctx.Err()
	}
}

// call makes the call and yields the embedding of each input that has a result.
func (s *sending) call(planned *plan) error {
	ctx, stop := context.WithDeadline(s.run.ctx, s.deadline(planned))
	defer stop()
	for _, item := range s.items {
		item.failure = nil
	}
	collected := make([]Embedding, len(s.items))
	for event, err := range s.run.client.events(ctx, planned) {
		if err == nil {
			err = collect(collected, event, planned.requestID)
		}
		if err != nil {
			return err
		}
		switch event := event.(type) {
		case *Result:
			s.settle(s.items[event.InputIndex], collected[event.InputIndex])
		case *Progress:
			s.report(event)
		}
	}
	return nil
}

// report notes the task of an input, and reports its progress with its position in the iterator.
func (s *sending) report(progress *Progress) {
	item := s.items[progress.InputIndex]
	item.task = cmp.Or(progress.UpstreamTaskID, item.task)
	if s.run.onProgress != nil {
		progress.InputIndex = item.position
		s.run.onProgress(progress)
	}
}

// deadline returns the deadline of the call. With counted waits, all its inputs were first sent at the same time.
func (s *sending) deadline(planned *plan) time.Time {
	deadline := time.Now().Add(s.run.client.timeoutOf(planned.request))
	if !s.run.countWaits {
		return deadline
	}
	for _, item := range s.items {
		if item.deadline.IsZero() {
			item.deadline = deadline
		}
	}
	return s.items[0].deadline
}

// settle ends an input that has a result, unless that is a rejection without a task.
func (s *sending) settle(item *item, embedding Embedding) {
	if item.isEnded || item.failure != nil { // the contract allows one result
		return
	}
	failure, isFailed := embedding.Result.Err.(*Error)
	if isFailed {
		failure = s.renumbered(failure).withTask(item.task)
		embedding.Result.Err = failure
	}
	if isFailed && isRejection(failure) {
		s.reject(failure, item)
		if failure.UpstreamTaskID == "" {
			return
		}
	}
	s.run.finish(item, embedding)
}

// judge ends the inputs without a result, or leaves them to be sent again, according to the error of the call.
func (s *sending) judge(err error, requestID string) {
	var failure *Error
	var unreadable *fileError
	switch {
	case err == nil:
		failure = broken(requestID, "the server ended the call without a result for this input")
	case errors.As(err, &unreadable): // the others are sent again
		item := s.items[unreadable.index]
		s.run.fail(item, unusable(item, unreadable.error))
		s.endTasks(broken(requestID, "the call ended because the file of another input cannot be read"))
		return
	case errors.As(err, &failure):
		if s.isSentAgain(failure) {
			s.endTasks(s.renumbered(failure))
			return
		}
		failure = s.renumbered(failure)
	}
	for _, item := range s.open() {
		if item.failure == nil {
			s.run.fail(item, failure)
		}
	}
}

// endTasks ends the inputs with a task, of which another call would create a second one, with the failure of the call.
func (s *sending) endTasks(failure *Error) {
	for _, item := range s.open() {
		if failure.withTask(item.task).UpstreamTaskID != "" {
			s.run.fail(item, failure)
		}
	}
}

// isSentAgain reports whether some or all inputs without a result are sent again after this failure of the call.
func (s *sending) isSentAgain(failure *Error) bool {
	switch {
	case isRejection(failure):
		s.reject(s.renumbered(failure), s.open()...)
		return true
	case len(s.items) == 1:
		return false
	case failure.Reason == rateLimited: // the call exceeds a limit: split it into halves
		open := s.open()
		for _, item := range open {
			item.most = (len(open) + 1) / 2
		}
		return true
	}
	return failure.Kind == ErrRequest && s.blame(failure)
}

// reject records a rejection and the inputs to be sent again.
func (s *sending) reject(failure *Error, items ...*item) {
	s.rejections = append(s.rejections, newRejection(failure, time.Now()))
	for _, item := range items {
		if item.failure == nil {
			item.failure = failure
		}
	}
}

// open returns the inputs that have not ended.
func (s *sending) open() (found []*item) {
	for _, item := range s.items {
		if !item.isEnded {
			found = append(found, item)
		}
	}
	return found
}

// isRepeatable reports whether a file can be sent again. A file that can be read only once cannot, if some of it was
// read. A file that the earlier call may still read cannot, since that read would consume bytes of the second one.
func (s *sending) isRepeatable(stopped <-chan struct{}, upload *upload) bool {
	if stopped == nil { // the call failed before it read anything
		return true
	}
	select {
	case <-stopped:
		return !upload.isBegun || upload.isSized || upload.file.rewind()
	case <-s.run.ctx.Done(): // nothing is sent again
		return true
	case <-time.After(sourcePatience):
		return false
	}
}
