package dev.embedwire;

import static dev.embedwire.Failure.FieldViolation;
import static dev.embedwire.Failure.QuotaViolation;
import static dev.embedwire.Failure.UpstreamReply;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.QuotaFailure;
import com.google.rpc.RetryInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.ProtoUtils;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** What a failed call carries in its trailers: google.rpc.Status with its details. */
final class Details {
    private static final String DOMAIN = "embedwire";

    /** Those that the server passes on. */
    private static final Pattern RATE_LIMIT = Pattern.compile("((x-?)?rate-?limit|retry-after).*");

    private static final Metadata.Key<com.google.rpc.Status> KEY = Metadata.Key.of(
            "grpc-status-details-bin", ProtoUtils.metadataMarshaller(com.google.rpc.Status.getDefaultInstance()));

    private static final Metadata.Key<String> PUSHBACK =
            Metadata.Key.of("grpc-retry-pushback-ms", Metadata.ASCII_STRING_MARSHALLER);

    private Details() {}

    /** The exception for a failed call: all that its trailers say, or what gRPC itself knows. */
    static EmbedwireException exception(StatusRuntimeException error, String requestId) {
        Status status = error.getStatus();
        String code = status.getCode().name();
        List<Any> details = details(error.getTrailers());
        Optional<ErrorInfo> info = find(details, ErrorInfo.class).filter(found -> DOMAIN.equals(found.getDomain()));
        if (info.isEmpty()) {
            boolean saysWhy =
                    status.getCode() == Status.Code.DEADLINE_EXCEEDED || status.getCode() == Status.Code.CANCELLED;
            return Failure.of(code, saysWhy ? code : "", words(status)).exception(requestId, 0);
        }
        Map<String, String> facts = info.get().getMetadataMap();
        return new Failure(
                        code,
                        info.get().getReason(),
                        Optional.ofNullable(status.getDescription()).orElse(""),
                        find(details, BadRequest.class).map(Details::violations).orElse(List.of()),
                        find(details, RetryInfo.class).map(found -> duration(found.getRetryDelay())),
                        find(details, QuotaFailure.class).map(Details::quotas).orElse(List.of()),
                        upstream(facts),
                        facts.getOrDefault("cause", ""))
                .exception(requestId, number(facts.getOrDefault("attempts", "")));
    }

    /** After which time the server wants a refused call back; empty if it does not, as with every other failure. */
    static Optional<Duration> pushback(StatusRuntimeException refusal) {
        Status.Code code = refusal.getStatus().getCode();
        boolean canBe = code == Status.Code.RESOURCE_EXHAUSTED || code == Status.Code.UNAVAILABLE;
        return Optional.ofNullable(refusal.getTrailers())
                .map(trailers -> trailers.get(PUSHBACK))
                .filter(asked -> canBe && asked.matches("[0-9]{1,9}"))
                .map(asked -> Duration.ofMillis(Long.parseLong(asked)));
    }

    static Duration duration(com.google.protobuf.Duration message) {
        return Duration.ofSeconds(message.getSeconds(), message.getNanos());
    }

    private static List<Any> details(Metadata trailers) {
        try {
            com.google.rpc.Status found = trailers == null ? null : trailers.get(KEY);
            return found == null ? List.of() : found.getDetailsList();
        } catch (IllegalArgumentException error) { // another server's; the code and the message still hold
            return List.of();
        }
    }

    private static <M extends Message> Optional<M> find(List<Any> details, Class<M> kind) {
        for (Any detail : details) {
            try {
                if (detail.is(kind)) {
                    return Optional.of(detail.unpack(kind));
                }
            } catch (InvalidProtocolBufferException error) {
                return Optional.empty();
            }
        }
        return Optional.empty();
    }

    /** What gRPC says of a call that no server has answered; the cause has the better words. */
    private static String words(Status status) {
        String said = Optional.ofNullable(status.getDescription()).orElse("");
        Throwable cause = status.getCause();
        String all = cause == null || cause.getMessage() == null ? said : said + ": " + cause.getMessage();
        return all.lines().findFirst().orElse(""); // a stack trace may follow
    }

    private static List<FieldViolation> violations(BadRequest message) {
        return message.getFieldViolationsList().stream()
                .map(each -> new FieldViolation(each.getField(), each.getDescription()))
                .toList();
    }

    private static List<QuotaViolation> quotas(QuotaFailure message) {
        return message.getViolationsList().stream()
                .map(each -> new QuotaViolation(each.getSubject(), each.getDescription()))
                .toList();
    }

    private static Optional<UpstreamReply> upstream(Map<String, String> facts) {
        if (!facts.containsKey("http_status")) {
            return Optional.empty();
        }
        Map<String, String> headers = facts.entrySet().stream()
                .filter(each -> RATE_LIMIT.matcher(each.getKey()).matches())
                .collect(Collectors.toUnmodifiableMap(Map.Entry::getKey, Map.Entry::getValue));
        return Optional.of(new UpstreamReply(
                number(facts.get("http_status")),
                facts.getOrDefault("upstream_code", ""),
                facts.getOrDefault("upstream_message", ""),
                facts.getOrDefault("docs_url", ""),
                headers));
    }

    private static int number(String text) {
        return text.matches("[0-9]{1,9}") ? Integer.parseInt(text) : 0;
    }
}
