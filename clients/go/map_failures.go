package embedwire

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

var inputPath = regexp.MustCompile(`^(?:request\.)?inputs\[(\d+)\]`)

// named returns the input of the call that a path begins with, and the rest of the path; nil if there is none.
func (s *sending) named(path string) (_ *item, rest string) {
	match := inputPath.FindStringSubmatch(path)
	if match == nil {
		return nil, ""
	}
	if index, err := strconv.Atoi(match[1]); err == nil && index < len(s.items) {
		return s.items[index], path[len(match[0]):]
	}
	return nil, ""
}

// renumberedPath replaces the index of an input in the call by its position in the iterator.
func (s *sending) renumberedPath(path string) string {
	if item, rest := s.named(path); item != nil {
		return fmt.Sprintf("inputs[%d]%s", item.position, rest)
	}
	return strings.TrimPrefix(path, "request.")
}

// renumbered returns a failure with the positions of inputs in the iterator.
func (s *sending) renumbered(failure *Error) *Error {
	message := failureOf(failure.GRPCStatus())
	if message == nil {
		return failure
	}
	return s.withViolations(failure, message, s.renumberedPath(message.Message), message.FieldViolations)
}

// withViolations returns a failure with this message and these violations, renumbered.
func (s *sending) withViolations(
	failure *Error, from *pb.Failure, message string, violations []*pb.FieldViolation,
) *Error {
	own := proto.Clone(from).(*pb.Failure)
	own.Message, own.FieldViolations = message, nil
	for _, violation := range violations {
		own.FieldViolations = append(own.FieldViolations, &pb.FieldViolation{
			Field: s.renumberedPath(violation.Field), Description: violation.Description,
		})
	}
	found := fromFailure(own, failure.RequestID)
	found.Attempts = failure.Attempts
	return found
}

// blame ends the inputs that the violations of a failed call name, each with its own violations. The others are valid.
func (s *sending) blame(failure *Error) (isAnyNamed bool) {
	message := failureOf(failure.GRPCStatus())
	violations := map[*item][]*pb.FieldViolation{}
	for _, violation := range message.GetFieldViolations() {
		if item, _ := s.named(violation.Field); item != nil {
			violations[item] = append(violations[item], violation)
		}
	}
	for item, own := range violations {
		text := s.renumberedPath(own[0].Field) + ": " + own[0].Description
		s.run.fail(item, s.withViolations(failure, message, text, own))
	}
	return len(violations) > 0
}

// unusable returns the failure of an input that cannot be encoded, or whose file cannot be read.
func unusable(item *item, err error) *Error {
	_, field := sourceOf(item.input.message(nil))
	description := "cannot be read: " + words(err)
	if fault, ok := err.(*fault); ok {
		field, description = fault.field, fault.description
	}
	path := fmt.Sprintf("inputs[%d]%s", item.position, field)
	found := fromFailure(&pb.Failure{
		Code: int32(codes.InvalidArgument), Reason: pb.ErrorReason_ERROR_REASON_INVALID_REQUEST,
		Message:         path + ": " + description,
		FieldViolations: []*pb.FieldViolation{{Field: path, Description: description}},
	}, "")
	found.cause = err
	return found
}

// words returns the message of the operating system. The error itself may contain a path or content.
func words(err error) string {
	var number syscall.Errno
	switch {
	case errors.As(err, &number):
		return number.Error()
	case errors.Is(err, errGrown):
		return errGrown.Error()
	}
	return "its reader failed"
}
