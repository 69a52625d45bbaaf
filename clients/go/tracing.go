package embedwire

import (
	"context"
	"regexp"

	"go.opentelemetry.io/otel"
	"google.golang.org/grpc/metadata"
)

// What grpc can send. It would fail the call with anything else.
var (
	metadataKeys   = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
	metadataValues = regexp.MustCompile(`^[\x20-\x7e]*$`)
)

// traceHeader is the metadata of a call, as OpenTelemetry's propagators write it.
type traceHeader struct{ metadata.MD }

// Get is the first value of a key.
func (h traceHeader) Get(key string) string {
	for _, value := range h.MD.Get(key) {
		return value
	}
	return ""
}

// Set replaces the values of a key.
func (h traceHeader) Set(key, value string) {
	if metadataKeys.MatchString(key) && metadataValues.MatchString(value) {
		h.MD.Set(key, value)
	}
}

// Keys are all keys.
func (h traceHeader) Keys() (keys []string) {
	for key := range h.MD {
		keys = append(keys, key)
	}
	return keys
}

// injectTrace adds the trace of ctx, for instance traceparent, if the process has a propagator of OpenTelemetry. One
// that fails does not fail the call.
func injectTrace(ctx context.Context, header metadata.MD) {
	defer func() { recover() }()
	otel.GetTextMapPropagator().Inject(ctx, traceHeader{header})
}
