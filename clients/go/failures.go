package embedwire

import (
	"cmp"
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

const detailsKey = "grpc-status-details-bin"

var (
	groups = []Kind{ErrRequest, ErrRefused, ErrUpstream, ErrGateway} // by the hundreds digit of the reason

	// Kinds by status code, for a missing reason or one of an unknown group.
	byCode = map[codes.Code]Kind{
		codes.DeadlineExceeded: ErrDeadlineExceeded, codes.Canceled: ErrRequest, codes.InvalidArgument: ErrRequest,
		codes.NotFound: ErrRequest, codes.Unauthenticated: ErrRequest, codes.PermissionDenied: ErrRequest,
		codes.ResourceExhausted: ErrRequest,
	}
)

func kindOf(reason pb.ErrorReason, code codes.Code) Kind {
	switch group := int(reason) / 100; {
	case reason == pb.ErrorReason_ERROR_REASON_DEADLINE_EXCEEDED:
		return ErrDeadlineExceeded
	case reason > 0 && group < len(groups):
		return groups[group]
	}
	if known, ok := byCode[code]; ok {
		return known
	}
	return ErrGateway
}

// explain returns the error of a failed call: ErrClosed, the error of an unreadable file, or the failure that the
// server or gRPC reported.
func (c *Client) explain(ctx context.Context, err error, requestID string) error {
	if c.connections.isClosed() {
		return ErrClosed
	}
	var unreadable *fileError
	if errors.As(context.Cause(ctx), &unreadable) {
		return unreadable
	}
	return fromStatus(status.Convert(err), requestID)
}

// fromStatus returns the failure that the server reported. Without one, gRPC or an intermediary ended the call.
func fromStatus(said *status.Status, requestID string) *Error {
	if failure := failureOf(said); failure != nil {
		found := fromFailure(failure, requestID)
		found.Code, found.said = said.Code(), said
		return found
	}
	found := &Error{Kind: ErrTransport, Code: said.Code(), Message: said.Message(), RequestID: requestID, said: said}
	if found.Code == codes.DeadlineExceeded || found.Code == codes.Canceled {
		found.Kind, found.Reason = byCode[found.Code], code.Code(found.Code).String()
	}
	return found
}

// restored returns the error of a call with its details and the code of the failure in them. A proxy may change the
// code; for two codes grpc drops the details and prints them into the message.
func restored(err error, trailer metadata.MD) error {
	if err == nil || err == io.EOF {
		return err
	}
	said := status.Convert(err).Proto()
	if sent, found := trailer.Get(detailsKey), (&spb.Status{}); len(sent) == 1 {
		if proto.Unmarshal([]byte(sent[0]), found) == nil {
			said = found
		}
	}
	if failure := failureOf(status.FromProto(said)); failure.GetCode() != 0 {
		said.Code = failure.Code
	}
	said.Code = cmp.Or(said.Code, int32(codes.Internal))
	return status.FromProto(said).Err()
}

// failureOf returns the Failure message among the details of a status; nil if there is none.
func failureOf(said *status.Status) *pb.Failure {
	for _, detail := range said.Details() {
		if failure, ok := detail.(*pb.Failure); ok {
			return failure
		}
	}
	return nil
}

// failed returns a failure that this client detected.
func failed(code codes.Code, reason pb.ErrorReason, message, requestID string) *Error {
	return fromFailure(&pb.Failure{Code: int32(code), Reason: reason, Message: message}, requestID)
}

// broken returns the failure for a response that violates the contract.
func broken(requestID, message string) *Error {
	return failed(codes.Internal, pb.ErrorReason_ERROR_REASON_INTERNAL, message, requestID)
}

func fromFailure(message *pb.Failure, requestID string) *Error {
	found := &Error{
		Kind: kindOf(message.Reason, codes.Code(message.Code)), Code: codes.Code(message.Code), Message: message.Message,
		RetryDelay: duration(message.RetryDelay), Cause: message.Cause, Attempts: int(message.Attempts),
		RequestID: requestID, UpstreamTaskID: message.UpstreamTaskId,
	}
	found.said, _ = status.New(found.Code, found.Message).WithDetails(message) // fails only if the code is OK
	if message.Reason != pb.ErrorReason_ERROR_REASON_UNSPECIFIED {
		found.Reason = nameOf(message.Reason)
	}
	for _, item := range message.FieldViolations {
		found.Violations = append(found.Violations, FieldViolation{item.GetField(), item.GetDescription()})
	}
	for _, item := range message.QuotaViolations {
		found.Quotas = append(found.Quotas, QuotaViolation{item.GetSubject(), item.GetDescription()})
	}
	if said := message.UpstreamError; said != nil {
		found.Upstream = &UpstreamReply{
			HTTPStatus: int(said.HttpStatus), Code: said.Code, Message: said.Message, DocsURL: said.DocsUrl,
			RateLimitHeaders: said.RateLimitHeaders, TraceID: said.TraceId,
		}
	}
	return found
}

// withTask returns the error with this identifier of a task, unless it has one or is not an *Error.
func withTask(err error, task string) error {
	if failure, ok := err.(*Error); ok {
		return failure.withTask(task)
	}
	return err
}

// withTask returns the failure with this identifier of a task, unless it has one.
func (e *Error) withTask(task string) *Error {
	found := *e
	found.UpstreamTaskID = cmp.Or(e.UpstreamTaskID, task)
	return &found
}

// nameOf returns the name of a reason in errors, or its number if this client does not know it.
func nameOf(reason pb.ErrorReason) string {
	return strings.TrimPrefix(reason.String(), "ERROR_REASON_")
}

// duration converts a duration; nil if it is not set.
func duration(message *durationpb.Duration) *time.Duration {
	if message == nil {
		return nil
	}
	found := message.AsDuration()
	return &found
}
