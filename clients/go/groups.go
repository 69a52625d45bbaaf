package embedwire

import (
	"slices"
	"time"
)

// How long a group that is not full waits for further inputs.
const groupPatience = 50 * time.Millisecond

// An item is an input of a run.
type item struct {
	position int // in the iterator, from 0
	input    Input
	file     *file     // nil for a text
	isUpload bool      // whether it is a call of its own
	bytes    int64     // of its content in the request
	most     int       // the most inputs of a call that has this one
	due      time.Time // when a group that begins with it is sent even if it is not full
	deadline time.Time // of counted waits; zero before the first call

	// What follows belongs to the call that has it.
	isEnded bool   // whether its embedding was handed out
	failure *Error // of the last call, with which it ends if it cannot be sent again
}

func newItem(position int, input Input, most int) *item {
	return &item{
		position: position, input: input, file: input.file(), most: most, due: time.Now().Add(groupPatience),
		bytes: int64(len(input.message(nil).GetText().GetValue())),
	}
}

// examine finds out how a file is sent. What cannot be read now fails when it is encoded.
func (i *item) examine() {
	if i.file == nil || i.file.source.kind == noSource || i.file.source.kind == urlSource {
		return
	}
	i.file.mark()
	size, err := i.file.size()
	if i.isUpload = size < 0 || size > inlineBytes; !i.isUpload && err == nil {
		i.bytes = size
	}
}

func (i *item) key() string { return i.input.message(nil).Key }

// A queue holds the inputs that wait to be sent.
type queue struct {
	open    []*item // to be sent several in a call
	uploads []*item // each to be sent in a call of its own, which delays no other group
	// That of no input is earlier; zero if none has one. Kept, since there may be very many inputs.
	deadline time.Time
}

func (q *queue) add(found *item) {
	if found.isUpload {
		q.uploads = append(q.uploads, found)
	} else {
		q.open = append(q.open, found)
	}
}

// putBack makes inputs that were sent the next ones.
func (q *queue) putBack(items []*item) {
	if len(items) == 0 {
		return
	}
	front := queue{}
	for _, item := range items {
		item.due = time.Time{}
		q.expect(item)
		front.add(item)
	}
	q.open = append(front.open, q.open...)
	q.uploads = append(front.uploads, q.uploads...)
}

func (q *queue) isEmpty() bool { return len(q.open)+len(q.uploads) == 0 }

// take removes the inputs of the next call; nil if none is to be sent yet.
func (q *queue) take(now time.Time, isRead bool) (items []*item) {
	count, isFull := q.group()
	isReady := count > 0 && (isFull || isRead || !now.Before(q.open[0].due))
	if len(q.uploads) > 0 && !(isReady && q.open[0].position < q.uploads[0].position) {
		items, q.uploads = q.uploads[:1:1], q.uploads[1:]
		return items
	}
	if !isReady {
		return nil
	}
	items, q.open = slices.Clone(q.open[:count]), q.open[count:]
	return items
}

// group counts the inputs of the next group, and tells whether no further one can join it.
func (q *queue) group() (count int, isFull bool) {
	most, bytes := mostInputsPerCall, int64(0)
	for _, item := range q.open {
		most, bytes = min(most, item.most), bytes+item.bytes
		if count >= most || count > 0 && bytes > inlineBytes || !item.deadline.Equal(q.open[0].deadline) {
			return count, true
		}
		count++
	}
	return count, count >= most
}

// due is when the next group is sent even if it is not full.
func (q *queue) due() time.Time {
	if len(q.open) == 0 {
		return time.Time{}
	}
	return q.open[0].due
}

// removeLate removes and returns the inputs whose deadline is not after this time.
func (q *queue) removeLate(at time.Time) (removed []*item) {
	if q.deadline.IsZero() || q.deadline.After(at) {
		return nil
	}
	q.deadline = time.Time{}
	isLate := func(item *item) bool {
		if item.deadline.IsZero() || item.deadline.After(at) {
			q.expect(item)
			return false
		}
		removed = append(removed, item)
		return true
	}
	q.open, q.uploads = slices.DeleteFunc(q.open, isLate), slices.DeleteFunc(q.uploads, isLate)
	return removed
}

// expect takes note of the deadline of an input, if it has one.
func (q *queue) expect(item *item) {
	if !item.deadline.IsZero() && (q.deadline.IsZero() || item.deadline.Before(q.deadline)) {
		q.deadline = item.deadline
	}
}
