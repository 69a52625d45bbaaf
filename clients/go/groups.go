package embedwire

import (
	"slices"
	"time"
)

// Maximum wait of a group that is not full for further inputs.
const groupPatience = 50 * time.Millisecond

// An item is an input of a run.
type item struct {
	position int // in the iterator, from 0
	input    Input
	file     *file     // nil for a text
	isUpload bool      // whether it is sent in a separate call
	bytes    int64     // size of its content in the request
	most     int       // maximum number of inputs of its call
	due      time.Time // when a group that begins with it is sent even if it is not full
	deadline time.Time // of counted waits; zero before the first call

	// Only the current call of the input uses the following fields.
	isEnded bool   // whether its embedding was yielded
	failure *Error // of the last call; the input ends with it if it cannot be sent again
	task    string // identifier of the upstream's task, as known from its progress; empty if there is none
}

func newItem(position int, input Input, most int) *item {
	return &item{
		position: position, input: input, file: input.file(), most: most, due: time.Now().Add(groupPatience),
		bytes: int64(len(input.message(nil).GetText().GetValue())),
	}
}

// examine decides how a file is sent. A file that cannot be read fails when it is encoded.
func (i *item) examine() {
	if i.file == nil || !i.file.source.kind.hasContent() {
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
	open    []*item // to be sent in groups
	uploads []*item // to be sent in separate calls, which delay no group
	// A lower bound of the deadlines of all inputs; zero if no input has one. Cached, since the queue may be long.
	deadline time.Time
}

func (q *queue) add(found *item) {
	if found.isUpload {
		q.uploads = append(q.uploads, found)
	} else {
		q.open = append(q.open, found)
	}
}

// putBack puts inputs that were sent to the front.
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

// take removes and returns the inputs of the next call; nil if nothing is ready to be sent.
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

// group counts the inputs of the next group, and reports whether the group is full.
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

// due returns when the next group is sent even if it is not full.
func (q *queue) due() time.Time {
	if len(q.open) == 0 {
		return time.Time{}
	}
	return q.open[0].due
}

// removeLate removes and returns the inputs whose deadline has passed at this time.
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

// expect records the deadline of an input, if it has one.
func (q *queue) expect(item *item) {
	if !item.deadline.IsZero() && (q.deadline.IsZero() || item.deadline.Before(q.deadline)) {
		q.deadline = item.deadline
	}
}
