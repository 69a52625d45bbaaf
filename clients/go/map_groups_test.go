package embedwire

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

// groupsOf runs the inputs; no call is answered before all inputs but the last one were read. It returns the keys of each
// call, sorted.
func groupsOf(t *testing.T, inputs []Input, options ...MapOption) (groups []string) {
	t.Helper()
	var mutex sync.Mutex
	isRead := make(chan struct{})
	read := func(yield func(Input) bool) {
		for index, input := range inputs {
			if index == len(inputs)-1 {
				close(isRead)
			}
			yield(input)
		}
	}
	client := serve(t, func(call *exchange) error {
		keys := ""
		for _, input := range call.request.Inputs {
			keys += input.Key
		}
		mutex.Lock()
		groups = append(groups, keys)
		mutex.Unlock()
		<-isRead
		return call.succeed()
	})
	found := outcomeOf(client.Map(t.Context(), "m", read, options...))
	if found.err != nil || len(found.succeeded) != len(inputs) {
		t.Fatalf("got %v", found)
	}
	slices.Sort(groups)
	return groups
}

func textOf(key string, size int) Text { return Text{Key: key, Value: strings.Repeat("a", size)} }

// While the run waits, groups fill up to the number that the options give.
func TestMapFillsGroups(t *testing.T) {
	inputs := []Input{textOf("x", 2<<20), textOf("y", 2<<20)} // each a call of its own, by its size
	for index := range 5 {
		inputs = append(inputs, textOf(fmt.Sprint(index), 1))
	}
	groups := groupsOf(t, inputs, WithInputsPerCall(4), WithConcurrentCalls(2))
	if want := []string{"0123", "4", "x", "y"}; !slices.Equal(groups, want) {
		t.Errorf("got %q, want %q", groups, want)
	}
}

// A group has at most 1 MiB, of texts and of files in the request; an upload is a call of its own and closes no group.
func TestMapGroupsBySize(t *testing.T) {
	groups := groupsOf(t, []Input{
		textOf("x", 2<<20),
		textOf("a", 400<<10),
		Image{Key: "b", Source: Data(make([]byte, 400<<10))},
		Image{Key: "u", Source: Data(make([]byte, 2<<20))},
		Image{Key: "r", Source: Reader(bytes.NewReader(make([]byte, 10)))},
		textOf("c", 200<<10),
		textOf("d", 200<<10),
		Image{Key: "e", Source: URL("http://a.test/a")},
		textOf("f", 900<<10),
	}, WithInputsPerCall(20), WithConcurrentCalls(1))
	if want := []string{"abc", "de", "f", "r", "u", "x"}; !slices.Equal(groups, want) {
		t.Errorf("got %q, want %q", groups, want)
	}
}

// Inputs that are sent again are the next ones, before others that wait.
func TestQueuePutsBackInFront(t *testing.T) {
	var waiting queue
	for position := range 6 {
		waiting.add(newItem(position, textOf("a", 1), 2))
	}
	for position := range 2 {
		upload := newItem(6+position, Image{Source: Reader(strings.NewReader("a"))}, 2)
		upload.examine()
		waiting.add(upload)
	}
	now := time.Now()
	first, second := waiting.take(now, false), waiting.take(now, false)
	waiting.putBack(second)
	waiting.putBack(first)
	var order []int
	for !waiting.isEmpty() {
		for _, item := range waiting.take(now, true) {
			order = append(order, item.position)
		}
	}
	if want := []int{0, 1, 2, 3, 4, 5, 6, 7}; !slices.Equal(order, want) {
		t.Errorf("got %v", order)
	}
}

// An input is removed when its deadline has passed, and the next deadline is known then.
func TestQueueRemovesWhatIsLate(t *testing.T) {
	now := time.Now()
	var waiting queue
	for position := range 3 {
		late := newItem(position, textOf("a", 1), 2)
		late.deadline = now.Add(time.Duration(2-position) * time.Minute)
		waiting.putBack([]*item{late})
	}
	waiting.add(newItem(3, textOf("a", 1), 2))
	if removed := waiting.removeLate(now.Add(-time.Second)); removed != nil || !waiting.deadline.Equal(now) {
		t.Errorf("got %v, next at %v", removed, waiting.deadline)
	}
	removed := waiting.removeLate(now.Add(time.Minute))
	if len(removed) != 2 || len(waiting.open) != 2 || !waiting.deadline.Equal(now.Add(2*time.Minute)) {
		t.Errorf("got %v of %v, next at %v", removed, waiting.open, waiting.deadline)
	}
	if waiting.removeLate(now.Add(time.Hour)); len(waiting.open) != 1 || !waiting.deadline.IsZero() {
		t.Errorf("got %v, next at %v", waiting.open, waiting.deadline)
	}
}

// In the failure of an input, its position in the iterator replaces its index in the call, also in the status.
func TestMapRenumbersFailures(t *testing.T) {
	client := serve(t, func(call *exchange) error {
		for index := range call.request.Inputs {
			failure := &pb.Failure{
				Code: 3, Reason: pb.ErrorReason_ERROR_REASON_INPUT_REJECTED, Message: "request.inputs[0].text: no",
				FieldViolations: []*pb.FieldViolation{{Field: "request.inputs[0].text"}, {Field: "request.model_name"}, {}},
			}
			if err := call.send(aSegment(index), aResult(index, failure)); err != nil {
				return err
			}
		}
		return nil
	})
	found := outcomeOf(client.Map(t.Context(), "m", texts(3), WithInputsPerCall(1)))
	for position, failure := range found.failures {
		path := fmt.Sprintf("inputs[%d].text", position)
		fields := []FieldViolation{{Field: path}, {Field: "model_name"}, {}}
		if failure.Message != path+": no" || !slices.Equal(failure.Violations, fields) {
			t.Errorf("got %v, %v", failure, failure.Violations)
		}
		if field := failureOf(failure.GRPCStatus()).FieldViolations[0].Field; field != path {
			t.Errorf("the status has %q", field)
		}
	}
	if len(found.failures) != 3 {
		t.Errorf("got %v", found)
	}
}
