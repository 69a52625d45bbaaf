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
	groups = []Kind{ErrRequest, ErrRefused, ErrUpstream, ErrGateway} // by the hundreds of a reason's number

	// The status code gives the kind if the reason is missing, or of a group that this client does not know.
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

// explain is the error of a call that ended: that the client was closed, that of a file that could not be read, or what
// the server or gRPC said.
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

// fromStatus is the failure that the server reports. Without one, gRPC or an intermediary ended the call.
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

// restored is the error of a call with the code of the failure in its details, which a proxy may have changed. For two
// codes grpc drops the details, and prints them into the message.
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

// failureOf is the contract's failure among the details of a status; nil if there is none.
func failureOf(said *status.Status) *pb.Failure {
	for _, detail := range said.Details() {
		if failure, ok := detail.(*pb.Failure); ok {
			return failure
		}
	}
	return nil
}

// failed is a failure that this client found.
func failed(code codes.Code, reason pb.ErrorReason, message, requestID string) *Error {
	return fromFailure(&pb.Failure{Code: int32(code), Reason: reason, Message: message}, requestID)
}

// broken is the failure of a server that does not keep the contract.
func broken(requestID, message string) *Error {
	return failed(codes.Internal, pb.ErrorReason_ERROR_REASON_INTERNAL, message, requestID)
}

func fromFailure(message *pb.Failure, requestID string) *Error {
	found := &Error{
		Kind: kindOf(message.Reason, codes.Code(message.Code)), Code: codes.Code(message.Code), Message: message.Message,
		RetryDelay: duration(message.RetryDelay), Cause: message.Cause, Attempts: int(message.Attempts),
		RequestID: requestID,
	}
	found.said, _ = status.New(found.Code, found.Message).WithDetails(message) // an error only where the code is OK
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
			RateLimitHeaders: said.RateLimitHeaders,
		}
	}
	return found
}

// nameOf is a reason as it is in errors; the number of one that is newer than this client.
func nameOf(reason pb.ErrorReason) string {
	return strings.TrimPrefix(reason.String(), "ERROR_REASON_")
}

// duration is nil for one that is not set.
func duration(message *durationpb.Duration) *time.Duration {
	if message == nil {
		return nil
	}
	found := message.AsDuration()
	return &found
}
