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

// An Option is a choice for a [Client] as a whole, for [NewClient] only. Each [CallOption] is one too.
type Option interface{ forClient(*settings) }

// A CallOption is a choice for calls: for all of a client ([NewClient]), for some ([Client.With]), or for those of one run
// of [Client.Map].
type CallOption interface {
	Option
	MapOption
	forCall(*callSettings)
}

// A MapOption is a choice for one run of [Client.Map].
type MapOption interface{ forMap(*mapping) }

type clientOption func(*settings)

func (o clientOption) forClient(s *settings) { o(s) }

type callOption func(*callSettings)

func (o callOption) forClient(s *settings)   { o(&s.callSettings) }
func (o callOption) forCall(c *callSettings) { o(c) }
func (o callOption) forMap(m *mapping)       { o(&m.callSettings) }

type mapOption func(*mapping)

func (o mapOption) forMap(m *mapping) { o(m) }

// settings are what the options of a client choose.
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

// callSettings are what the options of calls choose.
type callSettings struct {
	timeout    *time.Duration
	maxRetries *int32
	requestID  string // empty: a new one for each call
	encoding   pb.VectorEncoding
	chunkBytes int
	err        error // of an option that cannot be used
}

func defaults() settings {
	calls := callSettings{encoding: pb.VectorEncoding_VECTOR_ENCODING_FLOAT32_LE, chunkBytes: defaultChunkBytes}
	return settings{callSettings: calls, retryOnPushback: true, channels: 1, keepaliveTime: time.Minute}
}

// WithTLS is an [Option] that makes the connection one of TLS: roots, a certificate of this client's own (mutual TLS) and
// the name that the server must have are those of the config; nil is the roots of the system and the name of the target.
func WithTLS(config *tls.Config) Option {
	return clientOption(func(s *settings) {
		if s.tls = config.Clone(); config == nil {
			s.tls = &tls.Config{}
		}
	})
}

// WithToken is an [Option] that sends the bearer token that the server wants, over TLS or to a loopback address only.
func WithToken(token string) Option { return clientOption(func(s *settings) { s.token = &token }) }

// WithUpstreamAPIKey is an [Option] that sends your own key for the upstream, for servers that take one; without it the
// server's is used. It travels over TLS or to a loopback address only.
func WithUpstreamAPIKey(key string) Option {
	return clientOption(func(s *settings) { s.upstreamAPIKey = &key })
}

// WithWaitForReady is an [Option] that makes calls wait for a server that is not there yet, within their time, rather
// than fail.
func WithWaitForReady() Option { return clientOption(func(s *settings) { s.waitForReady = true }) }

// WithRetryOnPushback is an [Option]: whether a call that the server rejected before it did any work is made once more,
// as soon as the server asks for and within the time of the call. It is, by default. Nothing else is repeated, nor is an
// upload. [Client.Map] has its own rule.
func WithRetryOnPushback(retry bool) Option {
	return clientOption(func(s *settings) { s.retryOnPushback = retry })
}

// WithChannels is an [Option]: the number of connections to the target, 1 by default, 1 to 100. Calls are distributed
// over them in turn. A connection is served by one worker process of the server, so that a client needs several in order
// to use several workers.
func WithChannels(count int) Option {
	return clientOption(func(s *settings) {
		if s.channels = count; count < 1 || count > mostChannels {
			s.err = refusal("channels: must be 1 to %d, got %d", mostChannels, count)
		}
	})
}

// WithKeepaliveTime is an [Option]: how often a connection is checked by a ping while calls run, so that calls on a dead
// one end; every 60 s by default, at least 10 s, and 0 for never. An answer may take 20 s. Without calls there are no
// pings.
func WithKeepaliveTime(time time.Duration) Option {
	return clientOption(func(s *settings) {
		if s.keepaliveTime = time; time != 0 && time < leastKeepaliveTime {
			s.err = refusal("keepalive time: must be 0 or at least %v, got %v", leastKeepaliveTime, time)
		}
	})
}

// WithDialOptions is an [Option] that passes these on to gRPC, after the client's own: interceptors, statistics, dialers.
// What they do is outside the guarantees of this client.
func WithDialOptions(options ...grpc.DialOption) Option {
	return clientOption(func(s *settings) { s.passedOn = append(s.passedOn, options...) })
}

// WithTimeout is a [CallOption]: the time of each call whose context has no deadline, and of each call of [Client.Map]; by
// default 60 s, or 600 s with audio.
func WithTimeout(timeout time.Duration) CallOption {
	return callOption(func(c *callSettings) {
		if c.timeout = &timeout; timeout < 0 {
			c.err = refusal("timeout: must be 0 or more, got %v", timeout)
		}
	})
}

// WithMaxRetries is a [CallOption]: the most upstream attempts that may follow a failed first one, for each input; 0
// forbids retries. Without it the server decides. An attempt may be billed.
func WithMaxRetries(count int) CallOption {
	return callOption(func(c *callSettings) {
		most := int32(count)
		if c.maxRetries = &most; count < 0 || count > math.MaxInt32 {
			c.err = refusal("max retries: must be 0 to %d, got %d", math.MaxInt32, count)
		}
	})
}

// WithRequestID is a [CallOption]: an id for the server's log and metadata, of 1 to 64 letters, digits and -_.: only.
// Without it each call has a new one.
func WithRequestID(id string) CallOption {
	return callOption(func(c *callSettings) {
		if c.requestID = id; !requestIDs.MatchString(id) {
			c.err = refusal("request id: must have 1 to 64 letters, digits and -_.: only")
		}
	})
}

// WithVectorEncoding is a [CallOption]: how vectors travel; what comes back is the same. By default that is
// VECTOR_ENCODING_FLOAT32_LE, the cheapest.
func WithVectorEncoding(encoding pb.VectorEncoding) CallOption {
	return callOption(func(c *callSettings) { c.encoding = encoding })
}

// WithChunkBytes is a [CallOption]: the size of the chunks in which files are uploaded, 256 KiB by default.
func WithChunkBytes(count int) CallOption {
	return callOption(func(c *callSettings) {
		if c.chunkBytes = count; count < 1 || count > mostChunkBytes {
			c.err = refusal("chunk bytes: must be 1 to %d, got %d", mostChunkBytes, count)
		}
	})
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
			return refusal("%s: would travel in plain text; use WithTLS, or a loopback target", name)
		}
	}
	return cmp.Or(s.err, checkTarget(target))
}
