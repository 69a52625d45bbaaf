package embedwire

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Kind says whose fault an [Error] is. errors.Is(err, embedwire.RefusedError) asks for one.
type Kind string

const (
	RequestError          Kind = "RequestError"          // the caller can mend the request, its files or credentials
	DeadlineExceededError Kind = "DeadlineExceededError" // the time of the call is up; also a context.DeadlineExceeded
	RefusedError          Kind = "RefusedError"          // a policy of the server; later, or elsewhere, it may work
	UpstreamError         Kind = "UpstreamError"         // the upstream failed, or refused the server
	GatewayError          Kind = "GatewayError"          // the server failed, or this client does not understand it
	UnreachableError      Kind = "UnreachableError"      // no server answered, or it is shutting down
)

// Error makes a Kind a target of errors.Is.
func (k Kind) Error() string { return string(k) }

// An Error says why a call or an input failed.
type Error struct {
	Kind       Kind
	Code       codes.Code       // the gRPC status code
	Reason     string           // from the contract's list, for instance "INPUT_REJECTED"; empty if gRPC ended the call
	Message    string           // one sentence for a developer, not meant to be parsed
	Violations []FieldViolation // which fields of the request are at fault; at most 20, then how many more
	RetryDelay *time.Duration   // how long to wait before another try; nil if waiting is not known to help
	Quotas     []QuotaViolation // which quotas were hit
	Upstream   *UpstreamReply   // what the upstream said; nil if it said nothing
	Cause      string           // why the upstream could not be reached, for instance "connection_refused"; or empty
	Attempts   int              // how many upstream requests were made; 0 if none was, or if it is not known
	RequestID  string           // the id of the call, under which the server's log has the details
}

// A FieldViolation is one faulty field: its path, for instance "inputs[2].audio.source.url", and what to do.
type FieldViolation struct{ Field, Description string }

// A QuotaViolation is one quota that was hit: what it counts for, for instance "modality:audio", and its limit.
type QuotaViolation struct{ Subject, Description string }

// An UpstreamReply is what the upstream said of a failure, cut to 1 KB and without control characters.
type UpstreamReply struct {
	HTTPStatus       int
	Code             string            // for instance "parameter_invalid"; empty if it gave none
	Message          string            // empty if it gave none
	DocsURL          string            // where it documents the error; empty if it does not say
	RateLimitHeaders map[string]string // those of the reply, with lower-case names
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
	case context.DeadlineExceeded:
		return e.Kind == DeadlineExceededError
	case context.Canceled:
		return e.Code == codes.Canceled
	}
	return target == e.Kind
}

// GRPCStatus makes status.Code and status.FromError understand it.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }

func (e *Error) name() string {
	if e.Reason != "" {
		return e.Reason
	}
	return code.Code(e.Code).String()
}
