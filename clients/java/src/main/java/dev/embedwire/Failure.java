package dev.embedwire;

import dev.embedwire.v1.ErrorReason;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * Why an input, or a call, failed.
 *
 * @param code name of the gRPC status code, for instance "INVALID_ARGUMENT"
 * @param reason from the closed list of the contract, for instance "INPUT_REJECTED"; empty where gRPC itself ended the
 *     call and does not say why
 * @param message one sentence for a developer, not meant to be parsed
 * @param violations which fields of the request are at fault; at most 20 are listed, then how many more
 * @param retryDelay how long to wait before another try; empty if waiting is not known to help
 * @param quotas which quotas were hit
 * @param upstream what the upstream said; empty if it said nothing
 * @param cause why the upstream could not be reached, or which resource the server lacks, for instance
 *     "connection_refused"; empty for all other failures; the contract lists the values
 */
public record Failure(
        String code,
        String reason,
        String message,
        List<FieldViolation> violations,
        Optional<Duration> retryDelay,
        List<QuotaViolation> quotas,
        Optional<UpstreamReply> upstream,
        String cause) {
    private static final int GROUP_SIZE = 100;

    /**
     * One faulty field.
     *
     * @param field its path in the request, for instance "inputs[2].audio.source.url"
     * @param description what is wrong, and what to do
     */
    public record FieldViolation(String field, String description) {}

    /**
     * One quota that was hit.
     *
     * @param subject what it counts for, for instance "modality:audio"
     * @param description its limit, in words
     */
    public record QuotaViolation(String subject, String description) {}

    /**
     * What the upstream said of a failure, cut to 1 KB and without control characters.
     *
     * @param httpStatus status of the HTTP reply
     * @param code the upstream's error code, for instance "parameter_invalid"; empty if it gave none
     * @param message the upstream's message; empty if it gave none
     * @param docsUrl where the upstream documents the error; empty if it does not say
     * @param rateLimitHeaders the rate limit headers of the reply, with lower-case names
     */
    public record UpstreamReply(
            int httpStatus, String code, String message, String docsUrl, Map<String, String> rateLimitHeaders) {}

    static Failure of(String code, String reason, String message) {
        return new Failure(code, reason, message, List.of(), Optional.empty(), List.of(), Optional.empty(), "");
    }

    /** The exception that says this; its class follows the group of the reason. */
    EmbedwireException exception(String requestId, int attempts) {
        if (reason.equals("DEADLINE_EXCEEDED")) {
            return new DeadlineExceededException(this, requestId, attempts);
        }
        int number = number();
        if (number <= 0 || number >= 4 * GROUP_SIZE) {
            return exceptionByCode(requestId, attempts);
        }
        return switch (number / GROUP_SIZE) {
            case 0 -> new RequestException(this, requestId, attempts);
            case 1 -> new RefusedException(this, requestId, attempts);
            case 2 -> new UpstreamException(this, requestId, attempts);
            default -> new GatewayException(this, requestId, attempts);
        };
    }

    /** Where the reason is missing, or newer than this client, the status code tells the group. */
    private EmbedwireException exceptionByCode(String requestId, int attempts) {
        return switch (code) {
            case "DEADLINE_EXCEEDED" -> new DeadlineExceededException(this, requestId, attempts);
            case "UNAVAILABLE" -> new UnreachableException(this, requestId, attempts);
            case "INVALID_ARGUMENT",
                    "NOT_FOUND",
                    "CANCELLED",
                    "UNAUTHENTICATED",
                    "PERMISSION_DENIED",
                    "RESOURCE_EXHAUSTED" -> new RequestException(this, requestId, attempts);
            default -> new GatewayException(this, requestId, attempts);
        };
    }

    private int number() {
        if (reason.matches("[0-9]{1,9}")) {
            return Integer.parseInt(reason);
        }
        var known = ErrorReason.getDescriptor().findValueByName("ERROR_REASON_" + reason);
        return known == null ? 0 : known.getNumber();
    }

    /** Without the message, which may quote the upstream and so the caller. */
    @Override
    public String toString() {
        return "Failure[" + code + ", " + (reason.isEmpty() ? "no reason" : reason) + "]";
    }
}
