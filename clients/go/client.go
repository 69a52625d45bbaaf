package embedwire

import (
	"context"
	"fmt"
	"iter"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

// A Client calls an Embedwire server. It is safe for concurrent use. Create one and reuse it.
type Client struct {
	target      string
	connections *connections
	stub        pb.EmbeddingServiceClient
	settings    settings
}

// NewClient returns a client of the server at target: HOST:PORT, or another gRPC target such as
// "dns:///embeddings.internal:443". The connection is plaintext unless [WithTLS] is given. It is opened by the first
// call.
//
// The error wraps [ErrArgument] if an option is invalid, or if a credential would be sent in plaintext to a
// non-loopback address.
func NewClient(target string, options ...Option) (*Client, error) {
	chosen := defaults()
	for _, option := range options {
		option.forClient(&chosen)
	}
	if err := chosen.check(target); err != nil {
		return nil, err
	}
	connections, err := chosen.connect(target)
	if err != nil {
		return nil, err
	}
	stub := pb.NewEmbeddingServiceClient(connections)
	return &Client{target: target, connections: connections, stub: stub, settings: chosen}, nil
}

// Close closes the connections, which all clients returned by With share. Running and later calls fail with
// [ErrClosed]. It always returns nil, and may be called again.
func (c *Client) Close() error {
	c.connections.close()
	return nil
}

// With returns a client with the same connections whose calls have these options.
func (c *Client) With(options ...CallOption) *Client {
	derived := *c
	for _, option := range options {
		option.forCall(&derived.settings.callSettings)
	}
	return &derived
}

// Format prints the target without credentials, for every verb.
func (c *Client) Format(state fmt.State, _ rune) {
	fmt.Fprintf(state, "embedwire.Client(%s)", c.target)
}

// Stream embeds 1 to 256 inputs and yields each [*Segment], [*Result] and [*Progress] as it arrives.
//
// Segments of one input arrive in order, inputs interleave, and each input ends with its result. An input that the
// upstream processes as an asset or as a task also has progress, before its segments. Segments are provisional until the
// result: a failed result invalidates them. If there is one input, its failure is the error in place of
// a result; among several inputs, a failure is in [Result.Err]. An error ends the iteration.
//
// Each range over the iterator makes one call. Leaving the loop or cancelling ctx cancels the call. The deadline of ctx
// covers queueing, uploads, all attempts and the response. If ctx has none, the deadline is that of [WithTimeout], which
// also states the default. Files of together at most 1 MiB are sent in the request; all others are uploaded in chunks.
func (c *Client) Stream(ctx context.Context, model string, inputs ...Input) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		planned, err := c.plan(model, inputs)
		if err != nil {
			yield(nil, err)
			return
		}
		c.events(ctx, planned)(yield)
	}
}

// Embed embeds 1 to 256 inputs and returns one embedding for each, in the order of the inputs, when all have a result.
//
// A single text is sent by the unary RPC, which costs less than a stream; all else is as in Stream. If there is one
// input, its failure is the error; among several inputs, failures are in [Result.Err]. [WithProgress] reports the
// progress of the inputs.
func (c *Client) Embed(ctx context.Context, model string, inputs ...Input) ([]Embedding, error) {
	planned, err := c.plan(model, inputs)
	if err != nil {
		return nil, err
	}
	planned.isUnary = len(inputs) == 1 && planned.request.Inputs[0].GetText() != nil
	collected := make([]Embedding, len(inputs))
	for event, err := range c.events(ctx, planned) {
		if err == nil {
			err = collect(collected, event, planned.requestID)
		}
		if err != nil {
			return nil, err
		}
		if progress, ok := event.(*Progress); ok && c.settings.onProgress != nil {
			c.settings.onProgress(progress)
		}
	}
	for index, embedding := range collected {
		if embedding.Result == nil {
			return nil, broken(planned.requestID, fmt.Sprintf("the server ended the call without a result for inputs[%d]", index))
		}
	}
	return collected, nil
}

// Models returns what each model accepts and returns. Its deadline is that of ctx, of [WithTimeout], or 60 s.
func (c *Client) Models(ctx context.Context) ([]Model, error) {
	planned, err := c.newPlan("")
	if err != nil {
		return nil, err
	}
	ctx, cancel := c.begin(ctx, planned.requestID, c.timeoutOf(planned.request))
	defer cancel(nil)
	var found []Model
	for token := ""; ; {
		page, err := answer(ctx, c, func(trailer *metadata.MD) (*pb.ListModelsResponse, error) {
			return c.stub.ListModels(ctx, &pb.ListModelsRequest{PageToken: token}, grpc.Trailer(trailer))
		})
		if err != nil {
			return nil, c.explain(ctx, err, planned.requestID)
		}
		for _, message := range page.Models {
			found = append(found, modelOf(message))
		}
		if token = page.NextPageToken; token == "" {
			return found, nil
		}
	}
}
