package dev.embedwire;

import dev.embedwire.v1.ErrorReason;
import dev.embedwire.v1.FieldViolation;
import dev.embedwire.v1.QuotaViolation;
import dev.embedwire.v1.UpstreamError;
import io.grpc.Status;
import java.io.Serializable;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/** The details of a failed call or input. */
public final class Failure implements Serializable {
    private static final long serialVersionUID = 1L;
    private static final int GROUP_SIZE = 100;

    private final dev.embedwire.v1.Failure message;

    Failure(dev.embedwire.v1.Failure message) {
        this.message = message;
    }

    /** Returns a failure that the client detected. */
    static Failure of(Status.Code code, ErrorReason reason, String message) {
        return new Failure(dev.embedwire.v1.Failure.newBuilder()
                .setCode(code.value())
                .setReason(reason)
                .setMessage(message)
                .build());
    }

    static Duration duration(com.google.protobuf.Duration message) {
        return Duration.ofSeconds(message.getSeconds(), message.getNanos());
    }

    dev.embedwire.v1.Failure toProto() {
        return message;
    }

    /** {@return the name of the gRPC status code, for instance "INVALID_ARGUMENT"; the digits of an unknown one} */
    public String code() {
        Status.Code known = Status.fromCodeValue(message.getCode()).getCode();
        return known.value() == message.getCode() ? known.name() : String.valueOf(message.getCode());
    }

    /**
     * {@return the reason from the closed list of the contract, for instance "INPUT_REJECTED"; the digits of one that
     * this client does not know; empty if gRPC or an intermediary ended the call}
     */
    public String reason() {
        return switch (message.getReason()) {
            case ERROR_REASON_UNSPECIFIED -> "";
            case UNRECOGNIZED -> String.valueOf(message.getReasonValue());
            default -> message.getReason().name().substring("ERROR_REASON_".length());
        };
    }

    /** {@return one sentence for a developer; not meant to be parsed} */
    public String message() {
        return message.getMessage();
    }

    /** {@return the invalid fields of the request; at most 20, then the number of further ones} */
    public List<FieldViolation> violations() {
        return message.getFieldViolationsList();
    }

    /** {@return the wait before another try; empty if waiting is not known to help} */
    public Optional<Duration> retryDelay() {
        return message.hasRetryDelay() ? Optional.of(duration(message.getRetryDelay())) : Optional.empty();
    }

    /** {@return the exhausted quotas} */
    public List<QuotaViolation> quotas() {
        return message.getQuotaViolationsList();
    }

    /** {@return the error response of the upstream; empty if there is none} */
    public Optional<UpstreamError> upstream() {
        return message.hasUpstreamError() ? Optional.of(message.getUpstreamError()) : Optional.empty();
    }

    /**
     * {@return why the server could not reach the upstream, or which resource it lacks, for instance
     * "connection_refused"; empty for all other failures; the contract lists the values}
     */
    public String cause() {
        return message.getCause();
    }

    /**
     * {@return the identifier of the upstream's task, if one was created for the failed input, else empty}
     *
     * <p>After a passed deadline, {@link Source#task} gets its result. The failure of a call with several inputs has
     * none: {@link Progress} has the identifiers.
     */
    public String upstreamTaskId() {
        return message.getUpstreamTaskId();
    }

    /** Returns this failure with the identifier of a task, unless it has one. */
    Failure withTask(String task) {
        return task.isEmpty() || !upstreamTaskId().isEmpty()
                ? this
                : new Failure(message.toBuilder().setUpstreamTaskId(task).build());
    }

    /** Returns the exception for this failure. The group of the reason decides its class. */
    EmbedwireException exception(String requestId, int attempts) {
        if (message.getReason() == ErrorReason.ERROR_REASON_DEADLINE_EXCEEDED) {
            return new DeadlineExceededException(this, requestId, attempts);
        }
        int number = message.getReasonValue();
        if (number == 0) {
            return new TransportException(this, requestId, attempts);
        }
        return switch (number / GROUP_SIZE) {
            case 0 -> new RequestException(this, requestId, attempts);
            case 1 -> new RefusedException(this, requestId, attempts);
            case 2 -> new UpstreamException(this, requestId, attempts);
            default -> new GatewayException(this, requestId, attempts);
        };
    }

    /** {@return a description without the message, which may quote the caller's content} */
    @Override
    public String toString() {
        return "Failure[" + code() + ", " + (reason().isEmpty() ? "no reason" : reason()) + "]";
    }
}
