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

// ErrArgument is wrapped by every error of an argument that cannot be used. Nothing was sent then.
var ErrArgument = errors.New("embedwire: invalid argument")

func refusal(format string, values ...any) error {
	return fmt.Errorf("%w: %s", ErrArgument, fmt.Sprintf(format, values...))
}

// Kind says which party an [Error] comes from. Each kind is a target of errors.Is.
type Kind string

// The kinds of errors. ErrDeadlineExceeded is also an ErrRequest and a context.DeadlineExceeded.
const (
	ErrRequest          Kind = "RequestError"          // the caller can correct the request, its files or credentials
	ErrDeadlineExceeded Kind = "DeadlineExceededError" // the time of the call is over
	ErrRefused          Kind = "RefusedError"          // a policy of the server rejected it; it may be accepted later
	ErrUpstream         Kind = "UpstreamError"         // the upstream failed, or rejected the server
	ErrGateway          Kind = "GatewayError"          // the server failed, or this client does not understand it
	ErrTransport        Kind = "TransportError"        // gRPC, or a proxy between, ended the call
)

// Error makes a Kind a target of errors.Is.
func (k Kind) Error() string { return string(k) }

// An Error says why a call or an input failed. As JSON it has the names of the contract's Failure.
//
// Without a Reason, gRPC itself or an intermediary ended the call; the server may or may not have worked on it.
type Error struct {
	Kind       Kind             `json:"kind"`
	Code       codes.Code       `json:"code"`                       // the gRPC status code
	Reason     string           `json:"reason"`                     // from the contract's list, for instance "INPUT_REJECTED"
	Message    string           `json:"message"`                    // one sentence for a developer, not meant to be parsed
	Violations []FieldViolation `json:"field_violations,omitempty"` // which fields of the request are at fault; at most 20
	RetryDelay *time.Duration   `json:"retry_delay,omitempty"`      // when to try again; nil if that is not known to help
	Quotas     []QuotaViolation `json:"quota_violations,omitempty"` // which quotas were hit
	Upstream   *UpstreamReply   `json:"upstream_error,omitempty"`   // what the upstream said; nil if it said nothing
	Cause      string           `json:"cause,omitempty"`            // why the upstream could not be reached, or empty
	Attempts   int              `json:"attempts"`                   // how many upstream requests were made, if that is known
	RequestID  string           `json:"request_id,omitempty"`       // the id of the call in the server's log

	said  *status.Status // with all details as they were received
	cause error          // the error of a file that could not be read
}

// A FieldViolation is one faulty field: its path, for instance "inputs[2].audio.source.url", and what to do.
type FieldViolation struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

// A QuotaViolation is one quota that was hit: what it counts for, for instance "modality:audio", and its limit.
type QuotaViolation struct {
	Subject     string `json:"subject"`
	Description string `json:"description"`
}

// An UpstreamReply is what the upstream said of a failure, cut to 1 KB and without control characters.
type UpstreamReply struct {
	HTTPStatus       int               `json:"http_status"`
	Code             string            `json:"code"`               // for instance "parameter_invalid"; empty if it gave none
	Message          string            `json:"message"`            // empty if it gave none, or the same as the failure
	DocsURL          string            `json:"docs_url"`           // where it documents the error; empty if it does not say
	RateLimitHeaders map[string]string `json:"rate_limit_headers"` // those of the reply, with lower-case names
}

// Error is the reason, or else the code, the message and the request id.
func (e *Error) Error() string {
	text := "embedwire: " + e.name() + ": " + e.Message
	if e.RequestID != "" {
		text += " (request id " + e.RequestID + ")"
	}
	return text
}

// GoString leaves out the message, which may quote the upstream and so the caller.
func (e *Error) GoString() string {
	return fmt.Sprintf("embedwire.Error(%s, %s, request id %s)", e.Kind, e.name(), e.RequestID)
}

// Is compares with a [Kind], with context.DeadlineExceeded and with context.Canceled.
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

// Unwrap is the error of a file that could not be read, in the results of [Client.Map]; else nil.
func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus makes status.Code and status.FromError work, with all details that were received.
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
