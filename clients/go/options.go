package embedwire

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"regexp"
	"time"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

var (
	printable  = regexp.MustCompile(`^[\x21-\x7e]+$`)
	requestIDs = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,64}$`)
)

// An Option is a choice for all calls of a [Client].
type Option func(*settings)

type settings struct {
	tls             *tls.Config
	token           *string
	upstreamAPIKey  *string
	timeout         *time.Duration
	waitForReady    bool
	retryOnPushback bool
}

// WithTLS makes the connection one of TLS: roots, a certificate of this client's own (mutual TLS) and the name that
// the server must have are those of the config; nil is the roots of the system and the name of the target.
func WithTLS(config *tls.Config) Option {
	return func(s *settings) {
		if s.tls = config.Clone(); config == nil {
			s.tls = &tls.Config{}
		}
	}
}

// WithToken sends the bearer token that the server wants, over TLS or to a loopback address only.
func WithToken(token string) Option { return func(s *settings) { s.token = &token } }

// WithUpstreamAPIKey sends your own key for the upstream, for servers that take one; without it the server's is used.
// It travels over TLS or to a loopback address only.
func WithUpstreamAPIKey(key string) Option { return func(s *settings) { s.upstreamAPIKey = &key } }

// WithTimeout is the time of every call whose context has no deadline; by default 60 s, or 600 s with audio.
func WithTimeout(timeout time.Duration) Option { return func(s *settings) { s.timeout = &timeout } }

// WithWaitForReady makes calls wait for a server that is not there yet, within their time, rather than fail.
func WithWaitForReady() Option { return func(s *settings) { s.waitForReady = true } }

// WithRetryOnPushback chooses whether a call that the server refused before it did any work is made once more, as soon as
// the server asks for and within the time of the call. It is, by default. Nothing else is repeated, nor is an upload.
func WithRetryOnPushback(retry bool) Option { return func(s *settings) { s.retryOnPushback = retry } }

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
	if s.timeout != nil && *s.timeout < 0 {
		return refusal("timeout: must be 0 or more, got %v", *s.timeout)
	}
	return checkTarget(target)
}

// ErrArgument is wrapped by every error of an argument that cannot be used. Nothing was sent then.
var ErrArgument = errors.New("embedwire: invalid argument")

func refusal(format string, values ...any) error {
	return fmt.Errorf("%w: %s", ErrArgument, fmt.Sprintf(format, values...))
}

// A CallOption is a choice for some calls of a [Client]; see [Client.With].
type CallOption func(*call)

type call struct {
	maxRetries *uint32
	requestID  string
	encoding   pb.VectorEncoding
	chunkBytes int
	err        error
}

// MaxRetries is the most upstream attempts that may follow a failed first one, for each input; 0 forbids retries.
// Without it the server decides. An attempt may be billed.
func MaxRetries(count int) CallOption {
	return func(c *call) {
		most := uint32(count)
		if c.maxRetries = &most; count < 0 || int64(count) > math.MaxUint32 {
			c.err = refusal("max retries: must be 0 or more, got %d", count)
		}
	}
}

// RequestID is an id for the server's log and metadata: 1 to 64 letters, digits and -_.: only. Without it each call
// has a new one.
func RequestID(id string) CallOption {
	return func(c *call) {
		if c.requestID = id; !requestIDs.MatchString(id) {
			c.err = refusal("request id: must have 1 to 64 letters, digits and -_.: only")
		}
	}
}

// VectorEncoding chooses how vectors travel; what comes back is the same. By default that is
// VECTOR_ENCODING_FLOAT32_LE, the cheapest.
func VectorEncoding(encoding pb.VectorEncoding) CallOption {
	return func(c *call) { c.encoding = encoding }
}

// ChunkBytes is the size of the chunks in which files are uploaded, 256 KiB by default.
func ChunkBytes(count int) CallOption {
	return func(c *call) {
		if c.chunkBytes = count; count < 1 || count > messageBytes {
			c.err = refusal("chunk bytes: must be 1 to %d, got %d", messageBytes, count)
		}
	}
}
