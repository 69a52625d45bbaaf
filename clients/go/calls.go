package embedwire

import (
	"context"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

const pushbackKey = "grpc-retry-pushback-ms"

// answer makes a call up to its first answer, and once more if the server refused it before it did any work: when the
// server says so, and within the deadline of ctx.
//
// Not by gRPC's own retries: they would also repeat a call whose connection broke while the server was at work.
func answer[A any](ctx context.Context, chosen *settings, call func(trailer *metadata.MD) (A, error)) (A, error) {
	var trailer metadata.MD
	found, err := call(&trailer)
	delay, isAsked := pushback(err, trailer)
	deadline, _ := ctx.Deadline() // begin has set one
	if !isAsked || !chosen.retryOnPushback || delay >= time.Until(deadline) {
		return found, err
	}
	select {
	case <-ctx.Done():
		return found, status.FromContextError(ctx.Err()).Err()
	case <-time.After(delay):
		return call(&trailer)
	}
}

// ask starts a call that uploads nothing, waits for its first answer and returns what receives that and the others.
func (c *Client) ask(ctx context.Context, request *pb.CreateEmbeddingRequest) (func() (response, error), error) {
	var stream pb.EmbeddingService_CreateEmbeddingClient
	first, err := answer(ctx, &c.settings, func(trailer *metadata.MD) (_ response, err error) {
		if stream, err = c.stub.CreateEmbedding(ctx, request); err != nil {
			return nil, err
		}
		message, err := stream.Recv()
		if err != nil {
			*trailer = stream.Trailer()
		}
		return message, err
	})
	return func() (response, error) {
		if message := first; message != nil {
			first = nil
			return message, nil
		}
		return stream.Recv()
	}, err
}

// pushback is the time after which the server wants a refused call back, if it does.
func pushback(err error, trailer metadata.MD) (_ time.Duration, isAsked bool) {
	if code := status.Code(err); code != codes.ResourceExhausted && code != codes.Unavailable {
		return 0, false
	}
	millis, err := strconv.ParseUint(strings.Join(trailer.Get(pushbackKey), ","), 10, 32) // not what is negative
	return time.Duration(millis) * time.Millisecond, err == nil
}
