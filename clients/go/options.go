package embedwire

import (
	"cmp"
	"crypto/tls"
	"math"
	"regexp"
	"time"

	"google.golang.org/grpc"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

const (
	mostChannels       = 100
	leastKeepaliveTime = 10 * time.Second // grpc uses this for anything less
)

var (
	printable  = regexp.MustCompile(`^[\x21-\x7e]+$`)
	requestIDs = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,64}$`)
)

// An Option configures a [Client], in [NewClient] only. Each [CallOption] is also an Option.
type Option interface{ forClient(*settings) }

// A CallOption configures calls: all calls of a client ([NewClient]), some of them ([Client.With]), or those of one run
// of [Client.Map].
type CallOption interface {
	Option
	MapOption
	forCall(*callSettings)
}

// A MapOption configures one run of [Client.Map].
type MapOption interface{ forMap(*mapping) }

type clientOption func(*settings)

func (o clientOption) forClient(s *settings) { o(s) }

type callOption func(*callSettings)

func (o callOption) forClient(s *settings)   { o(&s.callSettings) }
func (o callOption) forCall(c *callSettings) { o(c) }
func (o callOption) forMap(m *mapping)       { o(&m.callSettings) }

type mapOption func(*mapping)

func (o mapOption) forMap(m *mapping) { o(m) }

// settings are the options of a client.
type settings struct {
	callSettings
	tls             *tls.Config
	token           *string
	upstreamAPIKey  *string
	waitForReady    bool
	retryOnPushback bool
	channels        int
	keepaliveTime   time.Duration
	passedOn        []grpc.DialOption // to gRPC
}

// callSettings are the options of calls.
type callSettings struct {
	timeout    *time.Duration
	maxRetries *int32
	requestID  string // empty: a new id for each call
	encoding   pb.VectorEncoding
	chunkBytes int

	dimensions         *int32 // nil: the model's default
	includeUncertainty bool
	onProgress         func(*Progress) // nil: none

	err error // of an invalid option
}

func defaults() settings {
	calls := callSettings{encoding: pb.VectorEncoding_VECTOR_ENCODING_FLOAT32_LE, chunkBytes: defaultChunkBytes}
	return settings{callSettings: calls, retryOnPushback: true, channels: 1, keepaliveTime: time.Minute}
}

// WithTLS is an [Option] that connects with TLS. The config contains the root certificates, the client certificate
// (mutual TLS) and the expected server name. A nil config uses the roots of the system and the name of the target.
func WithTLS(config *tls.Config) Option {
	return clientOption(func(s *settings) {
		if s.tls = config.Clone(); config == nil {
			s.tls = &tls.Config{}
		}
	})
}

// WithToken is an [Option] that sends a bearer token with each call, over TLS or to a loopback address only.
func WithToken(token string) Option { return clientOption(func(s *settings) { s.token = &token }) }

// WithUpstreamAPIKey is an [Option] that sends your own API key of the upstream, for servers that accept one. Without
// it the server uses its own key. The key is sent over TLS or to a loopback address only.
func WithUpstreamAPIKey(key string) Option {
	return clientOption(func(s *settings) { s.upstreamAPIKey = &key })
}

// WithWaitForReady is an [Option] that makes calls wait for an unreachable server until their deadline, instead of
// failing immediately.
func WithWaitForReady() Option { return clientOption(func(s *settings) { s.waitForReady = true }) }

// WithRetryOnPushback is an [Option] that turns the retry of rejected calls on (the default) or off. A call that the
// server rejected or ended in its shutdown is retried once, after the delay that the server requests and within the
// deadline.
// Other failures and uploads are not retried. [Client.Map] sends rejected inputs again by its own rule.
func WithRetryOnPushback(retry bool) Option {
	return clientOption(func(s *settings) { s.retryOnPushback = retry })
}

// WithChannels is an [Option] that sets the number of connections to each address, 1 to 100; the default is 1. Calls
// use them in turn (round robin). One worker process of the server serves a connection, so a client needs several
// connections to use several workers.
func WithChannels(count int) Option {
	return clientOption(func(s *settings) {
		if s.channels = count; count < 1 || count > mostChannels {
			s.err = refusal("channels: must be 1 to %d, got %d", mostChannels, count)
		}
	})
}

// WithKeepaliveTime is an [Option] that sets the interval of keepalive pings: at least 10 s, 60 s by default, 0 for
// none. Pings are sent only while calls run. If there is no answer within 20 s, the connection is closed and its calls
// fail.
func WithKeepaliveTime(time time.Duration) Option {
	return clientOption(func(s *settings) {
		if s.keepaliveTime = time; time != 0 && time < leastKeepaliveTime {
			s.err = refusal("keepalive time: must be 0 or at least %v, got %v", leastKeepaliveTime, time)
		}
	})
}

// WithDialOptions is an [Option] that passes options to gRPC, after those of the client: interceptors, stats handlers,
// dialers. Their effects are outside the guarantees of this client.
func WithDialOptions(options ...grpc.DialOption) Option {
	return clientOption(func(s *settings) { s.passedOn = append(s.passedOn, options...) })
}

// WithTimeout is a [CallOption] that sets the deadline of each call whose context has none, and of each call of
// [Client.Map]. The default depends on the inputs of the call: 60 s; 600 s if any input is audio and all audio has
// [ProcessingModeSync]; and 3,600 s with other audio, which the upstream may process as a task.
func WithTimeout(timeout time.Duration) CallOption {
	return callOption(func(c *callSettings) {
		if c.timeout = &timeout; timeout < 0 {
			c.err = refusal("timeout: must be 0 or more, got %v", timeout)
		}
	})
}

// WithMaxRetries is a [CallOption] that sets the maximum number of upstream retries for each input; 0 forbids retries.
// Without it the server decides. The upstream may bill each attempt.
func WithMaxRetries(count int) CallOption {
	return callOption(func(c *callSettings) {
		most := int32(count)
		if c.maxRetries = &most; count < 0 || count > math.MaxInt32 {
			c.err = refusal("max retries: must be 0 to %d, got %d", math.MaxInt32, count)
		}
	})
}

// WithRequestID is a [CallOption] that sets the request id for the server's log and metadata: 1 to 64 characters out of
// letters, digits and -_.: only. By default each call has a new id.
func WithRequestID(id string) CallOption {
	return callOption(func(c *callSettings) {
		if c.requestID = id; !requestIDs.MatchString(id) {
			c.err = refusal("request id: must have 1 to 64 letters, digits and -_.: only")
		}
	})
}

// WithVectorEncoding is a [CallOption] that sets the encoding of vectors in responses; the values are the same. The
// default is VECTOR_ENCODING_FLOAT32_LE, the cheapest.
func WithVectorEncoding(encoding pb.VectorEncoding) CallOption {
	return callOption(func(c *callSettings) { c.encoding = encoding })
}

// WithChunkBytes is a [CallOption] that sets the size of upload chunks in bytes, 1 to 15 MiB; the default is 256 KiB.
func WithChunkBytes(count int) CallOption {
	return callOption(func(c *callSettings) {
		if c.chunkBytes = count; count < 1 || count > mostChunkBytes {
			c.err = refusal("chunk bytes: must be 1 to %d, got %d", mostChunkBytes, count)
		}
	})
}

// WithDimensions is a [CallOption] that sets the number of values of each vector, one of [Model.SupportedDimensions].
// The default is [Model.Dimensions].
func WithDimensions(count int) CallOption {
	return callOption(func(c *callSettings) {
		dimensions := int32(count)
		if c.dimensions = &dimensions; count < 1 || count > math.MaxInt32 {
			c.err = refusal("dimensions: must be 1 to %d, got %d", math.MaxInt32, count)
		}
	})
}

// WithUncertainty is a [CallOption] that requests [Segment.Uncertainty], if [Model.SupportsUncertainty].
func WithUncertainty() CallOption {
	return callOption(func(c *callSettings) { c.includeUncertainty = true })
}

// WithProgress is a [CallOption] that calls a function with each [Progress] of the inputs of [Client.Embed] and
// [Client.Map], before the embedding of that input. The call waits for the function. Map calls it in its goroutines,
// concurrently for different calls, with the position of the input in the iterator; a panic there ends the process.
// [Client.Stream] yields progress as events instead.
func WithProgress(report func(*Progress)) CallOption {
	return callOption(func(c *callSettings) { c.onProgress = report })
}

func (s *settings) check(target string) error {
	for name, secret := range map[string]*string{"token": s.token, "upstream API key": s.upstreamAPIKey} {
		if secret == nil {
			continue
		}
		if !printable.MatchString(*secret) {
			return refusal("%s: must be printable ASCII without spaces, and not empty", name)
		}
		if s.tls == nil && !isLocal(target) {
			return refusal("%s: would be sent in plaintext; use WithTLS, or a loopback target", name)
		}
	}
	return cmp.Or(s.err, checkTarget(target))
}
