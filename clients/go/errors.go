package embedwire

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrArgument is wrapped by the error of each invalid argument. Nothing was sent.
var ErrArgument = errors.New("embedwire: invalid argument")

func refusal(format string, values ...any) error {
	return fmt.Errorf("%w: %s", ErrArgument, fmt.Sprintf(format, values...))
}

// Kind is the class of an [Error]: the party at fault. Each kind is a target of errors.Is.
type Kind string

// The kinds of errors. ErrDeadlineExceeded is also an ErrRequest and a context.DeadlineExceeded.
const (
	ErrRequest          Kind = "RequestError"          // the request, a file or a credential is at fault; correct it
	ErrDeadlineExceeded Kind = "DeadlineExceededError" // the deadline passed
	ErrRefused          Kind = "RefusedError"          // a policy of the server rejected the call or input; try later
	ErrUpstream         Kind = "UpstreamError"         // the upstream failed, or rejected the server
	ErrGateway          Kind = "GatewayError"          // the server failed, or sent an invalid response
	ErrTransport        Kind = "TransportError"        // gRPC, a proxy or a load balancer ended the call
)

// Error returns the name of the kind. It makes a Kind a target of errors.Is.
func (k Kind) Error() string { return string(k) }

// An Error is the failure of a call or of an input. Its JSON names are those of Failure in the contract.
//
// If Reason is empty, gRPC or an intermediary ended the call; the server may or may not have worked on it.
type Error struct {
	Kind       Kind             `json:"kind"`
	Code       codes.Code       `json:"code"`                       // the gRPC status code
	Reason     string           `json:"reason"`                     // reason of the contract, for instance "INPUT_REJECTED"
	Message    string           `json:"message"`                    // one sentence for a developer, not meant to be parsed
	Violations []FieldViolation `json:"field_violations,omitempty"` // invalid fields of the request; at most 20
	RetryDelay *time.Duration   `json:"retry_delay,omitempty"`      // wait before another try; nil if unknown
	Quotas     []QuotaViolation `json:"quota_violations,omitempty"` // exhausted quotas
	Upstream   *UpstreamReply   `json:"upstream_error,omitempty"`   // error response of the upstream; nil if there is none
	Cause      string           `json:"cause,omitempty"`            // why the upstream could not be reached, or empty
	Attempts   int              `json:"attempts"`                   // number of upstream requests; 0 if none or unknown
	RequestID  string           `json:"request_id,omitempty"`       // id of the call in the server's log

	// Identifier of the upstream's task, if one was created for the failed input; else empty. After a passed deadline,
	// [Task] gets its result. The error of a call with several inputs has none: [Progress] has the identifiers.
	UpstreamTaskID string `json:"upstream_task_id,omitempty"`

	said  *status.Status // with all details as they were received
	cause error          // of an unreadable file
}

// A FieldViolation is one invalid field: its path, for instance "inputs[2].audio.source.url", and how to correct it.
type FieldViolation struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

// A QuotaViolation is one exhausted quota: what it applies to, for instance "modality:audio", and its limit.
type QuotaViolation struct {
	Subject     string `json:"subject"`
	Description string `json:"description"`
}

// An UpstreamReply is the error response of the upstream, truncated to 1 KB and without control characters.
type UpstreamReply struct {
	HTTPStatus       int               `json:"http_status"`
	Code             string            `json:"code"`               // for instance "parameter_invalid"; may be empty
	Message          string            `json:"message"`            // empty if there is none, or if it equals Error.Message
	DocsURL          string            `json:"docs_url"`           // documentation of the error; empty if there is none
	RateLimitHeaders map[string]string `json:"rate_limit_headers"` // of the response, with lower-case names
	TraceID          string            `json:"trace_id,omitempty"` // of the request, for the upstream's support
}

// Error returns the reason (or else the code), the message and the request id.
func (e *Error) Error() string {
	text := "embedwire: " + e.name() + ": " + e.Message
	if e.RequestID != "" {
		text += " (request id " + e.RequestID + ")"
	}
	return text
}

// GoString returns the kind, reason and request id without the message, which may quote the caller's content.
func (e *Error) GoString() string {
	return fmt.Sprintf("embedwire.Error(%s, %s, request id %s)", e.Kind, e.name(), e.RequestID)
}

// Is reports whether the error matches a [Kind], context.DeadlineExceeded or context.Canceled.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrRequest:
		return e.Kind == ErrRequest || e.Kind == ErrDeadlineExceeded
	case context.DeadlineExceeded:
		return e.Kind == ErrDeadlineExceeded
	case context.Canceled:
		return e.Code == codes.Canceled
	}
	return target == e.Kind
}

// Unwrap returns the error of an unreadable file in the results of [Client.Map], else nil.
func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus returns the gRPC status with all received details, for status.Code and status.FromError.
func (e *Error) GRPCStatus() *status.Status {
	if e.said == nil {
		return status.New(e.Code, e.Message)
	}
	return e.said
}

func (e *Error) name() string {
	if e.Reason != "" {
		return e.Reason
	}
	return code.Code(e.Code).String()
}
