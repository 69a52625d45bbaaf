package embedwire

import (
	"context"
	"errors"
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
		codes.Unauthenticated: RequestError, codes.PermissionDenied: RequestError,
		codes.ResourceExhausted: RequestError,
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
	} else if facts.Code == codes.DeadlineExceeded || facts.Code == codes.Canceled { // from gRPC itself, or from a proxy
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
			e.Cause = detail.Metadata["cause"]
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
		Cause: message.Cause,
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
