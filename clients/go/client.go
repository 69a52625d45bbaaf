package embedwire

import (
	"context"
	"fmt"
	"iter"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

// A Client calls an Embedwire server. It may be used by many goroutines at once; make one and keep it.
type Client struct {
	target      string
	connections *connections
	stub        pb.EmbeddingServiceClient
	settings    settings
}

// NewClient makes a client of the server at target: HOST:PORT, or another gRPC name such as
// "dns:///embeddings.internal:443". It speaks plain text unless [WithTLS] is given, and connects with the first call.
//
// An option that cannot be used, or a credential that would travel over a network in plain text, is an error that
// wraps [ErrArgument].
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

// Close closes the connections, which every client made by With shares. Calls that still run end with [ErrClosed], as
// does every later one. It returns nil, also when it is called again.
func (c *Client) Close() error {
	c.connections.close()
	return nil
}

// With returns a client that shares this one's connections and makes its calls with these options.
func (c *Client) With(options ...CallOption) *Client {
	derived := *c
	for _, option := range options {
		option.forCall(&derived.settings.callSettings)
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
// everything: queueing, uploads, every attempt, the reply. Without one the call gets the timeout of [WithTimeout], else
// 60 s, or 600 s if any input is audio. Files of together at most 1 MiB travel in the request, every other one is
// uploaded in chunks.
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

// Embed embeds one or more inputs and returns when all have a result: one embedding for each, in their order.
//
// It takes what Stream takes; a single text is sent by the unary call, which costs less than a stream. The failure of an
// only input is the error, those among several are in [Result.Err].
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
	}
	for index, embedding := range collected {
		if embedding.Result == nil {
			return nil, broken(planned.requestID, fmt.Sprintf("the server ended the call without a result for inputs[%d]", index))
		}
	}
	return collected, nil
}

// Models tells what each model accepts and returns.
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
