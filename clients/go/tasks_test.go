package embedwire

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

var melody = Audio{Source: URL("http://a.test/a")}

func aStage(index int, task string) *pb.EmbeddingEvent {
	progress := &pb.InputProgress{
		InputIndex: int32(index), Stage: pb.ProgressStage_PROGRESS_STAGE_PROCESSING, UpstreamTaskId: task,
	}
	return &pb.EmbeddingEvent{Event: &pb.EmbeddingEvent_Progress{Progress: progress}}
}

// Embed reports the stages in order, each before its result; Stream yields them and reports nothing.
func TestProgress(t *testing.T) {
	client := serve(t, func(call *exchange) error {
		return call.send(aStage(1, "b"), aStage(0, ""), aSegment(0), aResult(0, nil), aResult(1, nil))
	})
	var reported []Progress
	reporting := client.With(WithProgress(func(progress *Progress) { reported = append(reported, *progress) }))
	embeddings, err := reporting.Embed(t.Context(), "m", melody, melody)
	want := []Progress{{InputIndex: 1, Stage: ProcessingStage, UpstreamTaskID: "b"}, {Stage: ProcessingStage}}
	if err != nil || len(embeddings) != 2 || !slices.Equal(reported, want) {
		t.Errorf("got %v, %v, %v", embeddings, reported, err)
	}
	var yielded []Progress
	for event, err := range reporting.Stream(t.Context(), "m", melody, melody) {
		if err != nil {
			t.Fatal(err)
		}
		if progress, ok := event.(*Progress); ok {
			yielded = append(yielded, *progress)
		}
	}
	if !slices.Equal(yielded, want) || len(reported) != len(want) {
		t.Errorf("the stream yields %v, and %d stages are reported", yielded, len(reported))
	}
}

// A rejection of a call has the task in its own failure, or in the progress before: the input is not sent again.
func TestMapDoesNotRepeatTasks(t *testing.T) {
	failure := &pb.Failure{
		Code: int32(codes.ResourceExhausted), Reason: overloadedReason, RetryDelay: durationpb.New(time.Millisecond),
		UpstreamTaskId: "t-1",
	}
	said, err := status.New(codes.ResourceExhausted, "on purpose").WithDetails(failure)
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]func(*exchange) error{
		"failure of the call": func(*exchange) error { return said.Err() },
		"progress of the call": func(call *exchange) error {
			call.send(aStage(0, "t-1"))
			return rejected(overloadedReason, time.Millisecond)
		},
		"progress and result": func(call *exchange) error {
			rejection := &pb.Failure{Code: int32(codes.ResourceExhausted), Reason: overloadedReason}
			return call.send(aStage(0, "t-1"), aResult(0, rejection))
		},
	} {
		var calls atomic.Int32
		client := serve(t, func(call *exchange) error {
			calls.Add(1)
			return answer(call)
		})
		found := outcomeOf(client.Map(t.Context(), "m", slices.Values([]Input{melody})))
		ended := found.failures[0]
		if found.err != nil || ended == nil || ended.UpstreamTaskID != "t-1" || ended.Reason != overloaded {
			t.Errorf("%s: got %v", name, found)
		}
		if calls.Load() != 1 {
			t.Errorf("%s: %d calls", name, calls.Load())
		}
	}
}

// If a call names an invalid input, the others are sent again, except one with a task, which ends with that failure.
func TestMapWithATaskBesideAnInvalidInput(t *testing.T) {
	var calls atomic.Int32
	client := serve(t, func(call *exchange) error {
		if calls.Add(1) > 1 {
			return call.succeed()
		}
		call.send(aStage(1, "t-1"))
		failure := &pb.Failure{
			Code: int32(codes.InvalidArgument), Reason: pb.ErrorReason_ERROR_REASON_INVALID_REQUEST,
			FieldViolations: []*pb.FieldViolation{{Field: "inputs[0].key", Description: "is too long"}},
		}
		said, err := status.New(codes.InvalidArgument, "on purpose").WithDetails(failure)
		return errors.Join(err, said.Err())
	})
	found := outcomeOf(client.Map(t.Context(), "m", slices.Values([]Input{melody, melody, melody})))
	if found.err != nil || !slices.Equal(found.succeeded, []int{2}) || calls.Load() != 2 {
		t.Fatalf("got %v after %d calls", found, calls.Load())
	}
	if named, other := found.failures[0], found.failures[1]; named.UpstreamTaskID != "" || other.UpstreamTaskID != "t-1" {
		t.Errorf("got the tasks %q and %q", named.UpstreamTaskID, other.UpstreamTaskID)
	}
}
