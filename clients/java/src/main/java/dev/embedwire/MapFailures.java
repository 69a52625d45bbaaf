package dev.embedwire;

import dev.embedwire.v1.ErrorReason;
import dev.embedwire.v1.Failure;
import dev.embedwire.v1.FieldViolation;
import dev.embedwire.v1.InputResult;
import io.grpc.Status;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Builds the failures of inputs of a run. They contain the position of an input in the caller's iterator. */
final class MapFailures {
    private static final Pattern INPUT = Pattern.compile("(?:request\\.)?inputs\\[([0-9]{1,3})\\]");
    private static final String PREFIX = "request.";

    private MapFailures() {}

    static Embedding embedding(MapInput input, Failure failure, int attempts, String requestId) {
        var result = InputResult.newBuilder()
                .setInputIndex(input.position())
                .setInputKey(input.input().key())
                .setAttempts(attempts)
                .setFailure(failure);
        return new Embedding(new Result(result.build(), requestId), List.of());
    }

    static Failure late(String message) {
        return failure(Status.Code.DEADLINE_EXCEEDED, ErrorReason.ERROR_REASON_DEADLINE_EXCEEDED, message);
    }

    static Failure missing() {
        String message = "the server ended the call without a result for this input";
        return failure(Status.Code.INTERNAL, ErrorReason.ERROR_REASON_INTERNAL, message);
    }

    static Failure unreadable(MapInput input, Throwable error) {
        var violation = FieldViolation.newBuilder()
                .setField(Unreadable.field(input.position(), input.input()))
                .setDescription(Unreadable.description(error));
        return failure(Status.Code.INVALID_ARGUMENT, ErrorReason.ERROR_REASON_INVALID_REQUEST, text(violation))
                .toBuilder()
                .addFieldViolations(violation)
                .build();
    }

    /** Replaces the indices of inputs in a call by their positions in the iterator. */
    static Failure renamed(Failure failure, List<MapInput> inputs) {
        var made = failure.toBuilder().setMessage(renamed(failure.getMessage(), inputs));
        made.getFieldViolationsBuilderList().forEach(each -> each.setField(renamed(each.getField(), inputs)));
        return made.build();
    }

    /** Returns a failure for each input that the field violations of an invalid request name, by index in the call. */
    static Map<Integer, Failure> ofNamed(Failure failure, List<MapInput> inputs) {
        Map<Integer, Failure.Builder> found = new HashMap<>();
        boolean isInvalid = failure.getReasonValue() > 0 && failure.getReasonValue() < 100;
        for (FieldViolation violation : isInvalid ? failure.getFieldViolationsList() : List.<FieldViolation>of()) {
            int index = index(violation.getField(), inputs);
            var renamed = violation.toBuilder().setField(renamed(violation.getField(), inputs));
            if (index >= 0) {
                found.computeIfAbsent(
                                index,
                                first -> failure.toBuilder()
                                        .clearFieldViolations()
                                        .setMessage(text(renamed)))
                        .addFieldViolations(renamed);
            }
        }
        Map<Integer, Failure> built = new HashMap<>();
        found.forEach((index, each) -> built.put(index, each.build()));
        return built;
    }

    private static Failure failure(Status.Code code, ErrorReason reason, String message) {
        return dev.embedwire.Failure.of(code, reason, message).toProto();
    }

    private static String text(FieldViolation.Builder violation) {
        return violation.getField() + ": " + violation.getDescription();
    }

    /** Returns the index of the input that a path begins with; -1 if there is none. */
    private static int index(String path, List<MapInput> inputs) {
        Matcher matcher = INPUT.matcher(path);
        int index = matcher.lookingAt() ? Integer.parseInt(matcher.group(1)) : -1;
        return index < inputs.size() ? index : -1;
    }

    private static String renamed(String path, List<MapInput> inputs) {
        int index = index(path, inputs);
        if (index >= 0) {
            return "inputs[" + inputs.get(index).position() + path.substring(path.indexOf(']'));
        }
        return path.startsWith(PREFIX) ? path.substring(PREFIX.length()) : path;
    }
}
