package embedwire

import (
	"context"
	"regexp"

	"go.opentelemetry.io/otel"
	"google.golang.org/grpc/metadata"
)

// The keys and values that grpc can send. It would fail the call for any other.
var (
	metadataKeys   = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
	metadataValues = regexp.MustCompile(`^[\x20-\x7e]*$`)
)

// traceHeader adapts the metadata of a call to the propagators of OpenTelemetry.
type traceHeader struct{ metadata.MD }

// Get returns the first value of a key.
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

// Keys returns all keys.
func (h traceHeader) Keys() (keys []string) {
	for key := range h.MD {
		keys = append(keys, key)
	}
	return keys
}

// injectTrace adds the trace context of ctx, for instance traceparent, if the process has set a propagator of
// OpenTelemetry. A failing propagator does not fail the call.
func injectTrace(ctx context.Context, header metadata.MD) {
	defer func() { recover() }()
	otel.GetTextMapPropagator().Inject(ctx, traceHeader{header})
}
