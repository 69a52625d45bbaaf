package embedwire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

// A Client calls an Embedwire server. It may be used by many goroutines at once; make one and keep it.
type Client struct {
	target     string
	connection *grpc.ClientConn
	stub       pb.EmbeddingServiceClient
	settings   settings
	call       call
}

// NewClient makes a client of the server at target: HOST:PORT, or another gRPC name such as
// "dns:///embeddings.internal:443". It speaks plain text unless [WithTLS] is given, and connects with the first call.
//
// An option that cannot be used, or a credential that would travel over a network in plain text, is an error that
// wraps [ErrArgument].
func NewClient(target string, options ...Option) (*Client, error) {
	chosen := settings{retryOnPushback: true}
	for _, option := range options {
		option(&chosen)
	}
	if err := chosen.check(target); err != nil {
		return nil, err
	}
	connection, err := grpc.NewClient(target, chosen.dialOptions(target)...)
	if err != nil {
		return nil, fmt.Errorf("%w: target: %w", ErrArgument, err)
	}
	return &Client{
		target: target, connection: connection, stub: pb.NewEmbeddingServiceClient(connection), settings: chosen,
	}, nil
}

// Close closes the connection, also that of every client made by With. Calls that still run are cancelled.
func (c *Client) Close() error { return c.connection.Close() }

// With returns a client that shares this one's connection and makes its calls with these options.
func (c *Client) With(options ...CallOption) *Client {
	derived := *c
	for _, option := range options {
		option(&derived.call)
	}
	return &derived
}

// Format shows the target and no credential, whatever the verb.
func (c *Client) Format(state fmt.State, _ rune) {
	fmt.Fprintf(state, "embedwire.Client(%s)", c.target)
}

// Stream embeds one or more inputs, 1 to 256, and hands out every [*Segment] and [*Result] as it arrives.
//
// Segments of one input come in order, inputs interleave, and each input ends with its result. Segments are
// provisional until then: a failed result voids them. With one input, its failure is the error in place of a result;
// with several it is in the result. An error is the last thing that comes.
//
// Each range over it is one call; leaving the loop, or the end of ctx, ends the call. The deadline of ctx bounds
// everything: queueing, uploads, every attempt, the reply. Without one the call gets the timeout of the client, else
// 60 s, or 600 s if any input is audio. Files of together at most 1 MiB travel in the request, every other one is
// uploaded in chunks.
func (c *Client) Stream(ctx context.Context, model string, inputs ...Input) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		planned, err := c.call.plan(model, inputs, inlineBytes)
		if err != nil {
			yield(nil, err)
			return
		}
		ctx, requestID, cancel := c.begin(ctx, planned.request)
		defer cancel(nil)
		receive, err := c.open(ctx, planned, cancel)
		for err == nil {
			var event Event
			if event, err = next(receive, requestID); err != nil || event == nil {
				continue // an event that is nil is one that this client does not know
			}
			if result, ok := event.(*Result); ok {
				planned.answered(result.InputIndex)
			}
			if !yield(event, nil) {
				return
			}
		}
		if !errors.Is(err, io.EOF) {
			yield(nil, explain(ctx, err, requestID))
		}
	}
}

// Embed embeds one or more inputs and returns when all have a result: one embedding for each, in their order.
//
// It takes what Stream takes. The failure of an only input is the error, those among several are in [Result.Err].
func (c *Client) Embed(ctx context.Context, model string, inputs ...Input) ([]Embedding, error) {
	requestID := cmp.Or(c.call.requestID, newRequestID())
	collected := make([]Embedding, len(inputs))
	for event, err := range c.With(RequestID(requestID)).Stream(ctx, model, inputs...) {
		if err == nil {
			err = collect(collected, event, requestID)
		}
		if err != nil {
			return nil, err
		}
	}
	for index, embedding := range collected {
		if embedding.Result == nil {
			return nil, broken(requestID, fmt.Sprintf("the server ended the call without a result for inputs[%d]", index))
		}
	}
	return collected, nil
}

// EmbedUnary does what Embed does in one message each way: the cheapest call for a short text.
//
// Files that do not fit into a message, or whose size cannot be known, are an error that wraps [ErrArgument]; an
// answer larger than 4 MiB is one with the reason REPLY_TOO_LARGE.
func (c *Client) EmbedUnary(ctx context.Context, model string, inputs ...Input) ([]Embedding, error) {
	planned, err := c.call.plan(model, inputs, messageBytes)
	if err != nil {
		return nil, err
	}
	if len(planned.uploads) > 0 {
		return nil, refusal("inputs[%d]: a unary call has room for files of %d bytes; use Embed",
			planned.uploads[0].index, messageBytes)
	}
	request := planned.request
	ctx, requestID, cancel := c.begin(ctx, request)
	defer cancel(nil)
	message := &pb.CreateEmbeddingUnaryRequest{
		ModelName: request.ModelName, Inputs: request.Inputs, VectorEncoding: request.VectorEncoding,
		MaxRetries: request.MaxRetries,
	}
	reply, err := answer(ctx, &c.settings, func(trailer *metadata.MD) (*pb.CreateEmbeddingUnaryResponse, error) {
		return c.stub.CreateEmbeddingUnary(ctx, message, grpc.Trailer(trailer))
	})
	if err != nil {
		return nil, explain(ctx, err, requestID)
	}
	return unary(reply, len(inputs), requestID)
}

// Models tells what each model accepts and returns.
func (c *Client) Models(ctx context.Context) ([]Model, error) {
	if c.call.err != nil {
		return nil, c.call.err
	}
	ctx, requestID, cancel := c.begin(ctx, nil)
	defer cancel(nil)
	var found []Model
	for token := ""; ; {
		page, err := answer(ctx, &c.settings, func(trailer *metadata.MD) (*pb.ListModelsResponse, error) {
			return c.stub.ListModels(ctx, &pb.ListModelsRequest{PageToken: token}, grpc.Trailer(trailer))
		})
		if err != nil {
			return nil, explain(ctx, err, requestID)
		}
		for _, message := range page.Models {
			found = append(found, model(message))
		}
		if token = page.NextPageToken; token == "" {
			return found, nil
		}
	}
}
