package embedwire

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

// Version is the version of this module, part of the user agent.
const Version = "0.1.0"

const (
	// What a call without a deadline gets by the contract; a client that sets it cannot hang on a dead connection.
	textTimeout  = 60 * time.Second
	audioTimeout = 600 * time.Second
	// A server allows no more.
	longestTimeout = 7 * 24 * time.Hour
	// A unary answer is at most 4 MiB, and grpc's own limit leaves no room beside it.
	receiveBytes = 8 << 20
)

func (s *settings) dialOptions(target string) []grpc.DialOption {
	security := insecure.NewCredentials()
	if s.tls != nil {
		security = credentials.NewTLS(s.tls)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(security),
		grpc.WithUserAgent("embedwire-go/" + Version),
		grpc.WithDisableRetry(), // whatever a resolver says; what never reached the server is still sent again
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(receiveBytes), grpc.WaitForReady(s.waitForReady)),
	}
	if isLocal(target) { // credentials for this machine do not go to a proxy of the environment
		options = append(options, grpc.WithNoProxy())
	}
	return options
}

// begin gives a call its deadline, the sooner of this timeout and that of ctx, and its metadata.
func (c *Client) begin(
	ctx context.Context, requestID string, timeout time.Duration,
) (context.Context, context.CancelCauseFunc) {
	pairs := []string{"x-request-id", requestID}
	if c.settings.token != nil {
		pairs = append(pairs, "authorization", "Bearer "+*c.settings.token)
	}
	if c.settings.upstreamAPIKey != nil {
		pairs = append(pairs, "x-upstream-api-key", *c.settings.upstreamAPIKey)
	}
	if _, isSet := ctx.Deadline(); isSet {
		timeout = longestTimeout
	}
	ctx = metadata.AppendToOutgoingContext(ctx, pairs...)
	ctx, stop := context.WithTimeout(ctx, timeout)
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, func(cause error) { cancel(cause); stop() }
}

// timeoutOf is the time of a call whose context has no deadline.
func (c *Client) timeoutOf(request *pb.CreateEmbeddingRequest) time.Duration {
	if c.settings.timeout != nil {
		return min(*c.settings.timeout, longestTimeout)
	}
	isAudio := func(input *pb.Input) bool { return input.GetAudio() != nil }
	if slices.ContainsFunc(request.Inputs, isAudio) {
		return audioTimeout
	}
	return textTimeout
}

func newRequestID() string {
	random := make([]byte, 8)
	rand.Read(random) // never fails, since Go 1.24
	return hex.EncodeToString(random)
}

func checkTarget(target string) error {
	if target == "" || strings.ContainsAny(target, " \t\r\n") {
		return refusal("target: must be HOST:PORT, or another gRPC name, without spaces")
	}
	if strings.HasPrefix(target, "http://") || strings.HasPrefix(target, "https://") {
		return refusal("target: must be HOST:PORT without http://; TLS is chosen by WithTLS")
	}
	if port, err := strconv.Atoi(target[strings.LastIndex(target, ":")+1:]); err == nil && port > 65535 {
		return refusal("target: there is no port %d", port)
	}
	return nil
}

// isLocal tells whether what is sent there stays on this machine. Names other than localhost do not count.
func isLocal(target string) bool {
	address := target
	if parsed, err := url.Parse(target); err == nil {
		switch parsed.Scheme {
		case "unix", "unix-abstract":
			return true
		case "dns", "passthrough":
			if parsed.Host != "" { // a name server of the caller's choice, which decides what a name means
				return false
			}
			address = strings.TrimPrefix(parsed.Path, "/") + parsed.Opaque
		}
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.Trim(address, "[]") // without a port
	}
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}
