package embedwire

import (
	"context"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

const pushbackKey = "grpc-retry-pushback-ms"

// events makes the call of a plan and yields its events. An error ends the iteration.
func (c *Client) events(ctx context.Context, planned *plan) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		ctx, cancel := c.begin(ctx, planned.requestID, c.timeoutOf(planned.request))
		defer cancel(nil)
		receive, err := c.open(ctx, planned, cancel)
		for err == nil {
			var messages []*pb.EmbeddingEvent
			messages, err = receive()
			for _, message := range messages {
				event, err := eventOf(message, planned.requestID)
				if event == nil && err == nil {
					continue
				}
				planned.note(event)
				if !yield(event, withTask(err, planned.task)) || err != nil {
					return
				}
			}
		}
		if err != io.EOF {
			yield(nil, withTask(c.explain(ctx, err, planned.requestID), planned.task))
		}
	}
}

// note records what an event means for the rest of the call: a file that is no longer needed, or the upstream's task of
// the only input. A call that ends at the client has no other source of that task.
func (p *plan) note(event Event) {
	switch event := event.(type) {
	case *Result:
		p.answered(event.InputIndex)
	case *Progress:
		if len(p.request.Inputs) == 1 && event.UpstreamTaskID != "" {
			p.task = event.UpstreamTaskID
		}
	}
}

// A receiver waits for the next message of a call; io.EOF is the end.
type receiver func() ([]*pb.EmbeddingEvent, error)

// open starts a call, with its upload if there is one.
func (c *Client) open(ctx context.Context, planned *plan, cancel context.CancelCauseFunc) (receiver, error) {
	switch {
	case len(planned.uploads) > 0:
		return c.upload(ctx, planned, cancel)
	case planned.isUnary:
		return c.askUnary(ctx, planned.request)
	}
	return c.ask(ctx, planned.request)
}

// ask starts a stream without uploads and waits for its first message; before that, the call may be retried.
func (c *Client) ask(ctx context.Context, request *pb.CreateEmbeddingRequest) (receiver, error) {
	var stream pb.EmbeddingService_CreateEmbeddingClient
	first, err := answer(ctx, c, func(trailer *metadata.MD) (_ *pb.CreateEmbeddingResponse, err error) {
		if stream, err = c.stub.CreateEmbedding(ctx, request); err != nil {
			return nil, err
		}
		message, err := stream.Recv()
		if err != nil {
			*trailer = stream.Trailer()
		}
		return message, err
	})
	return func() ([]*pb.EmbeddingEvent, error) {
		if message := first; message != nil {
			first = nil
			return message.Events, nil
		}
		message, err := stream.Recv()
		return message.GetEvents(), err
	}, err
}

// askUnary makes the unary call and returns its response as the events of a stream.
func (c *Client) askUnary(ctx context.Context, request *pb.CreateEmbeddingRequest) (receiver, error) {
	message := &pb.CreateEmbeddingUnaryRequest{
		ModelName: request.ModelName, Inputs: request.Inputs, VectorEncoding: request.VectorEncoding,
		MaxRetries: request.MaxRetries, Dimensions: request.Dimensions, IncludeUncertainty: request.IncludeUncertainty,
	}
	reply, err := answer(ctx, c, func(trailer *metadata.MD) (*pb.CreateEmbeddingUnaryResponse, error) {
		return c.stub.CreateEmbeddingUnary(ctx, message, grpc.Trailer(trailer))
	})
	var events []*pb.EmbeddingEvent
	for _, embedding := range reply.GetEmbeddings() {
		for _, segment := range embedding.Segments {
			events = append(events, &pb.EmbeddingEvent{Event: &pb.EmbeddingEvent_Segment{Segment: segment}})
		}
		if embedding.Result != nil {
			events = append(events, &pb.EmbeddingEvent{Event: &pb.EmbeddingEvent_Result{Result: embedding.Result}})
		}
	}
	return func() ([]*pb.EmbeddingEvent, error) { return events, io.EOF }, err
}

// answer makes a call up to its first response. If the server rejected it or ended it in its shutdown, and sent a pushback
// delay, answer retries it once, after that delay and within the deadline of ctx.
//
// The retries of gRPC are not used: they would also repeat a call whose connection broke while the server worked on it.
func answer[A any](ctx context.Context, c *Client, call func(trailer *metadata.MD) (A, error)) (A, error) {
	var trailer metadata.MD
	found, err := call(&trailer)
	delay, isAsked := pushback(err, trailer)
	deadline, _ := ctx.Deadline() // begin has set one
	if !isAsked || !c.settings.retryOnPushback || delay >= time.Until(deadline) {
		return found, err
	}
	select {
	case <-ctx.Done():
		return found, status.FromContextError(ctx.Err()).Err()
	case <-c.connections.closed:
		return found, err
	case <-time.After(delay):
		return call(&trailer)
	}
}

// pushback returns the delay after which the server accepts a retry of a rejected call, if it sent one.
func pushback(err error, trailer metadata.MD) (_ time.Duration, isAsked bool) {
	if code := status.Code(err); code != codes.ResourceExhausted && code != codes.Unavailable {
		return 0, false
	}
	millis, err := strconv.ParseUint(strings.Join(trailer.Get(pushbackKey), ","), 10, 32) // negative: no retry
	return time.Duration(millis) * time.Millisecond, err == nil
}
