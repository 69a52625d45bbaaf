package embedwire

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

// Kind says whose fault an [Error] is. errors.Is(err, embedwire.RefusedError) asks for one.
type Kind string

const (
	RequestError          Kind = "RequestError"          // the caller can mend it: the request, its files, its credentials
	DeadlineExceededError Kind = "DeadlineExceededError" // the time of the call is up; also a context.DeadlineExceeded
	RefusedError          Kind = "RefusedError"          // a policy of the server refused; later, or elsewhere, it may work
	UpstreamError         Kind = "UpstreamError"         // the upstream failed, or refused the server
	GatewayError          Kind = "GatewayError"          // the server failed, or answered what this client does not understand
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

const (
	domain       = "embedwire"
	reasonPrefix = "ERROR_REASON_"
)

var (
	rateLimit = regexp.MustCompile(`^((x-?)?rate-?limit|retry-after)`) // the headers that the server passes on

	groups = []Kind{RequestError, RefusedError, UpstreamError, GatewayError} // by the hundreds of a reason's number

	// Where the reason is missing, or newer than this client, the status code tells the kind.
	byCode = map[codes.Code]Kind{
		codes.DeadlineExceeded: DeadlineExceededError, codes.Unavailable: UnreachableError,
		codes.InvalidArgument: RequestError, codes.NotFound: RequestError, codes.Canceled: RequestError,
		codes.Unauthenticated: RequestError, codes.PermissionDenied: RequestError, codes.ResourceExhausted: RequestError,
	}
)

func newError(facts Error) *Error {
	facts.Kind = kind(facts.Reason, facts.Code)
	return &facts
}

func kind(reason string, code codes.Code) Kind {
	number := int(pb.ErrorReason_value[reasonPrefix+reason])
	if newer, err := strconv.Atoi(reason); err == nil {
		number = newer
	}
	switch group := number / 100; {
	case number == int(pb.ErrorReason_ERROR_REASON_DEADLINE_EXCEEDED):
		return DeadlineExceededError
	case number > 0 && group < len(groups):
		return groups[group]
	}
	if known, ok := byCode[code]; ok {
		return known
	}
	return GatewayError
}

// explain is the error of a call that ended: that of a file that could not be read, or what the server or gRPC said.
func explain(ctx context.Context, err error, requestID string) error {
	var unreadable *fileError
	if errors.As(context.Cause(ctx), &unreadable) {
		return unreadable.error
	}
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	return fromStatus(status.Convert(err), requestID)
}

// fromStatus is all that the trailers of a failed call say, or what gRPC itself knows.
func fromStatus(said *status.Status, requestID string) *Error {
	facts := Error{Code: said.Code(), Message: said.Message(), RequestID: requestID}
	details := said.Details()
	at := slices.IndexFunc(details, func(detail any) bool {
		info, ok := detail.(*errdetails.ErrorInfo)
		return ok && info.Domain == domain
	})
	if at >= 0 {
		facts.add(details)
	} else if facts.Code == codes.DeadlineExceeded || facts.Code == codes.Canceled { // gRPC itself, or somebody between
		facts.Reason = code.Code(facts.Code).String()
	}
	return newError(facts)
}

func (e *Error) add(details []any) {
	for _, detail := range details {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			e.Reason = detail.Reason
			e.Attempts, _ = strconv.Atoi(detail.Metadata["attempts"])
			e.Upstream = upstreamReply(detail.Metadata)
		case *errdetails.BadRequest:
			for _, item := range detail.FieldViolations {
				e.Violations = append(e.Violations, FieldViolation{item.Field, item.Description})
			}
		case *errdetails.RetryInfo:
			e.RetryDelay = duration(detail.RetryDelay)
		case *errdetails.QuotaFailure:
			for _, item := range detail.Violations {
				e.Quotas = append(e.Quotas, QuotaViolation{item.Subject, item.Description})
			}
		}
	}
}

// duration is nil for one that is not set.
func duration(message *durationpb.Duration) *time.Duration {
	if message == nil {
		return nil
	}
	found := message.AsDuration()
	return &found
}

func upstreamReply(facts map[string]string) *UpstreamReply {
	httpStatus, isSet := facts["http_status"]
	if !isSet {
		return nil
	}
	reply := &UpstreamReply{
		Code: facts["upstream_code"], Message: facts["upstream_message"], DocsURL: facts["docs_url"],
		RateLimitHeaders: map[string]string{},
	}
	reply.HTTPStatus, _ = strconv.Atoi(httpStatus)
	for name, value := range facts {
		if rateLimit.MatchString(name) {
			reply.RateLimitHeaders[name] = value
		}
	}
	return reply
}

// fromFailure is why one of several inputs failed.
func fromFailure(message *pb.Failure) *Error {
	facts := Error{
		Code: codes.Code(message.Code), Message: message.Message, RetryDelay: duration(message.RetryDelay),
	}
	if message.Reason != pb.ErrorReason_ERROR_REASON_UNSPECIFIED {
		facts.Reason = strings.TrimPrefix(message.Reason.String(), reasonPrefix) // the number of one that is newer
	}
	for _, item := range message.FieldViolations {
		facts.Violations = append(facts.Violations, FieldViolation{item.Field, item.Description})
	}
	for _, item := range message.QuotaViolations {
		facts.Quotas = append(facts.Quotas, QuotaViolation{item.Subject, item.Description})
	}
	if said := message.UpstreamError; said != nil {
		facts.Upstream = &UpstreamReply{
			HTTPStatus: int(said.HttpStatus), Code: said.Code, Message: said.Message, DocsURL: said.DocsUrl,
			RateLimitHeaders: said.RateLimitHeaders,
		}
	}
	return newError(facts)
}
