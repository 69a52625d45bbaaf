package dev.embedwire;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import dev.embedwire.v1.ErrorReason;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.protobuf.ProtoUtils;
import java.lang.reflect.UndeclaredThrowableException;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/** Reads the trailers of a failed call. */
final class StatusDetails {
    private static final Metadata.Key<com.google.rpc.Status> DETAILS = Metadata.Key.of(
            "grpc-status-details-bin", ProtoUtils.metadataMarshaller(com.google.rpc.Status.getDefaultInstance()));

    private static final Metadata.Key<String> PUSHBACK =
            Metadata.Key.of("grpc-retry-pushback-ms", Metadata.ASCII_STRING_MARSHALLER);

    private StatusDetails() {}

    /** Returns the exception for a failed call: with the failure of the server, or else with the status of gRPC. */
    static EmbedwireException exception(Status status, Metadata trailers, String requestId) {
        return failure(trailers)
                .map(found -> new Failure(found).exception(requestId, found.getAttempts()))
                .orElseGet(() -> Failure.of(status.getCode(), reason(status), message(status))
                        .exception(requestId, 0));
    }

    /** Returns the exception for a call that the client cancelled because its thread was interrupted. */
    static EmbedwireException interrupted(String requestId) {
        return Failure.of(Status.Code.CANCELLED, ErrorReason.ERROR_REASON_CANCELLED, "the thread was interrupted")
                .exception(requestId, 0);
    }

    /**
     * Returns the delay after which the server accepts a retry of a rejected call; empty if it sent none, and for other
     * failures.
     */
    static Optional<Duration> pushback(Status status, Metadata trailers) {
        Status.Code code = failure(trailers)
                .map(found -> Status.fromCodeValue(found.getCode()).getCode())
                .orElse(status.getCode()); // some proxies change it
        boolean isRejection = code == Status.Code.RESOURCE_EXHAUSTED || code == Status.Code.UNAVAILABLE;
        return Optional.ofNullable(trailers.get(PUSHBACK))
                .filter(asked -> isRejection && asked.matches("[0-9]{1,9}"))
                .map(asked -> Duration.ofMillis(Long.parseLong(asked)));
    }

    /** Returns an error of another thread, to be thrown in this one. */
    static RuntimeException rethrown(Throwable error) {
        if (error instanceof Error fatal) {
            throw fatal;
        }
        if (error instanceof EmbedwireException) {
            error.fillInStackTrace(); // shows the caller in place of gRPC's thread
        }
        return error instanceof RuntimeException unchecked ? unchecked : new UndeclaredThrowableException(error);
    }

    private static Optional<dev.embedwire.v1.Failure> failure(Metadata trailers) {
        try {
            com.google.rpc.Status found = trailers.get(DETAILS);
            for (Any detail : found == null ? List.<Any>of() : found.getDetailsList()) {
                if (detail.is(dev.embedwire.v1.Failure.class)) {
                    return Optional.of(detail.unpack(dev.embedwire.v1.Failure.class));
                }
            }
        } catch (IllegalArgumentException | InvalidProtocolBufferException error) {
            return Optional.empty(); // not from this service; the code and the message still hold
        }
        return Optional.empty();
    }

    private static ErrorReason reason(Status status) {
        return switch (status.getCode()) {
            case DEADLINE_EXCEEDED -> ErrorReason.ERROR_REASON_DEADLINE_EXCEEDED;
            case CANCELLED -> ErrorReason.ERROR_REASON_CANCELLED;
            default -> ErrorReason.ERROR_REASON_UNSPECIFIED;
        };
    }

    /** Returns the received message; if gRPC ended the call, with the message of the cause. */
    private static String message(Status status) {
        String description = Optional.ofNullable(status.getDescription()).orElse("");
        Throwable cause = status.getCause();
        String all =
                cause == null || cause.getMessage() == null ? description : description + ": " + cause.getMessage();
        return all.lines().findFirst().orElse(""); // a stack trace may follow
    }
}
