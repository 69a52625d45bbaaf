package embedwire

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

// Version is the version of this module. It is part of the user agent.
const Version = "0.1.0"

// ErrClosed is the error of calls of a closed client, including calls that were running when it was closed.
var ErrClosed = errors.New("embedwire: the client is closed")

const (
	// The default deadlines; see WithTimeout. The server has them too, but the client must not hang on a dead connection.
	textTimeout = 60 * time.Second  // texts and images
	syncTimeout = 600 * time.Second // all audio has ProcessingModeSync
	taskTimeout = time.Hour         // the upstream may process audio as a task
	// The maximum deadline that a server accepts.
	longestTimeout = 7 * 24 * time.Hour
	// A unary response is at most 4 MiB, which is grpc's default limit; the frame needs some bytes more.
	receiveBytes = 8 << 20
	// Load balancing for names with several addresses; grpc's default uses only the first reachable address.
	roundRobin = `{"loadBalancingConfig": [{"round_robin": {}}]}`
	// Maximum time for the answer to a keepalive ping; then the connection is closed.
	keepaliveTimeout = 20 * time.Second
)

func (s *settings) dialOptions(target string) []grpc.DialOption {
	security := insecure.NewCredentials()
	if s.tls != nil {
		security = credentials.NewTLS(s.tls)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(security),
		grpc.WithUserAgent("embedwire-go/" + Version),
		grpc.WithDisableRetry(), // also if a resolver enables it; calls that never reached the server are still sent again
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(receiveBytes), grpc.WaitForReady(s.waitForReady)),
		grpc.WithDefaultServiceConfig(roundRobin),
	}
	if s.keepaliveTime > 0 {
		options = append(options, grpc.WithKeepaliveParams(
			keepalive.ClientParameters{Time: s.keepaliveTime, Timeout: keepaliveTimeout}))
	}
	if isLocal(target) { // credentials for this machine must not reach a proxy of the environment
		options = append(options, grpc.WithNoProxy())
	}
	return append(options, s.passedOn...)
}

// connections are the connections of a client to its target. Calls use them in turn.
type connections struct {
	all       []*grpc.ClientConn
	turn      atomic.Uint32
	closeOnce sync.Once
	closed    chan struct{}
}

func (s *settings) connect(target string) (*connections, error) {
	found := &connections{closed: make(chan struct{})}
	for range s.channels {
		connection, err := grpc.NewClient(target, s.dialOptions(target)...)
		if err != nil {
			found.close()
			return nil, fmt.Errorf("%w: target: %w", ErrArgument, err)
		}
		found.all = append(found.all, connection)
	}
	return found, nil
}

func (c *connections) close() {
	c.closeOnce.Do(func() {
		close(c.closed) // before the calls end, since they check it
		for _, connection := range c.all {
			connection.Close()
		}
	})
}

func (c *connections) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

func (c *connections) next() *grpc.ClientConn { return c.all[int(c.turn.Add(1)-1)%len(c.all)] }

// Invoke makes a unary call over the next connection.
func (c *connections) Invoke(ctx context.Context, method string, args, reply any, options ...grpc.CallOption) error {
	var trailer metadata.MD
	err := c.next().Invoke(ctx, method, args, reply, append(options, grpc.Trailer(&trailer))...)
	return restored(err, trailer)
}

// NewStream starts a stream over the next connection.
func (c *connections) NewStream(
	ctx context.Context, description *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	opened, err := c.next().NewStream(ctx, description, method, options...)
	return stream{opened}, restored(err, nil)
}

// A stream restores the details of its error.
type stream struct{ grpc.ClientStream }

func (s stream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	if err == nil {
		return nil
	}
	return restored(err, s.Trailer())
}

// begin adds the metadata and the deadline of a call to ctx: the deadline of ctx, or else this timeout.
func (c *Client) begin(
	ctx context.Context, requestID string, timeout time.Duration,
) (context.Context, context.CancelCauseFunc) {
	header, isSet := metadata.FromOutgoingContext(ctx) // a copy
	if !isSet {
		header = metadata.MD{}
	}
	injectTrace(ctx, header)
	header.Set("x-request-id", requestID)
	if c.settings.token != nil {
		header.Set("authorization", "Bearer "+*c.settings.token)
	}
	if c.settings.upstreamAPIKey != nil {
		header.Set("x-upstream-api-key", *c.settings.upstreamAPIKey)
	}
	if _, isSet := ctx.Deadline(); isSet {
		timeout = longestTimeout
	}
	ctx, stop := context.WithTimeout(metadata.NewOutgoingContext(ctx, header), timeout)
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, func(cause error) { cancel(cause); stop() }
}

// timeoutOf returns the timeout of a call whose context has no deadline.
func (c *Client) timeoutOf(request *pb.CreateEmbeddingRequest) time.Duration {
	if c.settings.timeout != nil {
		return min(*c.settings.timeout, longestTimeout)
	}
	timeout := textTimeout
	for _, input := range request.Inputs {
		if audio := input.GetAudio(); audio != nil {
			timeout = max(timeout, audioTimeout(audio))
		}
	}
	return timeout
}

func audioTimeout(audio *pb.AudioInput) time.Duration {
	if audio.ProcessingMode == pb.ProcessingMode_PROCESSING_MODE_SYNC {
		return syncTimeout
	}
	return taskTimeout
}

func newRequestID() string {
	random := make([]byte, 8)
	rand.Read(random) // never fails, since Go 1.24
	return hex.EncodeToString(random)
}
