package dev.embedwire;

import com.google.protobuf.ByteString;
import dev.embedwire.v1.CreateEmbeddingFromUploadResponse;
import dev.embedwire.v1.CreateEmbeddingResponse;
import dev.embedwire.v1.CreateEmbeddingUnaryResponse;
import dev.embedwire.v1.InputResult;
import dev.embedwire.v1.Vector;
import io.grpc.Status;
import java.nio.ByteOrder;
import java.util.List;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.stream.Stream;

/** Messages to values: events, results, models. */
final class Replies {
    private final String requestId;

    Replies(String requestId) {
        this.requestId = requestId;
    }

    /** One event; empty for one that this client does not know, which the contract tells it to ignore. */
    Optional<Event> event(CreateEmbeddingResponse message) {
        return switch (message.getEventCase()) {
            case SEGMENT -> Optional.of(segment(message.getSegment()));
            case RESULT -> Optional.of(result(message.getResult()));
            case EVENT_NOT_SET -> Optional.empty();
        };
    }

    /** The same, of an upload. */
    Optional<Event> event(CreateEmbeddingFromUploadResponse message) {
        return switch (message.getEventCase()) {
            case SEGMENT -> Optional.of(segment(message.getSegment()));
            case RESULT -> Optional.of(result(message.getResult()));
            case EVENT_NOT_SET -> Optional.empty();
        };
    }

    /** The whole answer of a unary call, in the order of the request. */
    List<Embedding> unary(CreateEmbeddingUnaryResponse message, int inputs) {
        if (message.getEmbeddingsCount() != inputs) {
            throw broken("the server answered " + message.getEmbeddingsCount() + " of " + inputs + " inputs");
        }
        return message.getEmbeddingsList().stream()
                .map(each -> new Embedding(
                        result(each.getResult()),
                        each.getSegmentsList().stream().map(this::segment).toList()))
                .toList();
    }

    /** What the server did is against the contract. */
    EmbedwireException broken(String message) {
        return Failure.of("INTERNAL", "INTERNAL", message).exception(requestId, 0);
    }

    private Segment segment(dev.embedwire.v1.Segment message) {
        var audio = message.getAudio();
        return new Segment(
                message.getInputIndex(),
                message.getInputKey(),
                message.getSegmentIndex(),
                switch (message.getModalityCase()) {
                    case TEXT -> Segment.Modality.TEXT;
                    case IMAGE -> Segment.Modality.IMAGE;
                    case AUDIO -> Segment.Modality.AUDIO;
                    case MODALITY_NOT_SET -> Segment.Modality.UNKNOWN;
                },
                vector(message.getVector()),
                message.hasAudio() ? OptionalDouble.of(audio.getStartOffsetSec()) : OptionalDouble.empty(),
                audio.hasEndOffsetSec() ? OptionalDouble.of(audio.getEndOffsetSec()) : OptionalDouble.empty(),
                audio.getEmbeddingOption());
    }

    private float[] vector(Vector message) {
        return switch (message.getEncoding()) {
            case VECTOR_ENCODING_FLOAT32_LE -> packed(message.getData());
            case VECTOR_ENCODING_UNSPECIFIED, VECTOR_ENCODING_FLOAT_VALUES -> {
                float[] values = new float[message.getValuesCount()];
                for (int index = 0; index < values.length; index++) {
                    values[index] = message.getValues(index);
                }
                yield values;
            }
            case UNRECOGNIZED -> throw broken("the server sent a vector that cannot be read");
        };
    }

    private float[] packed(ByteString data) {
        if (data.size() % Float.BYTES != 0) {
            throw broken("the server sent a vector that cannot be read");
        }
        float[] values = new float[data.size() / Float.BYTES];
        data.asReadOnlyByteBuffer()
                .order(ByteOrder.LITTLE_ENDIAN)
                .asFloatBuffer()
                .get(values);
        return values;
    }

    private Result result(InputResult message) {
        var about = message.getMetadata();
        var timings = message.getTimings();
        return new Result(
                message.getInputIndex(),
                message.getInputKey(),
                message.getModelName(),
                message.getDimensions(),
                message.getSegmentCount(),
                about.hasInputUrl() ? Optional.of(about.getInputUrl()) : Optional.empty(),
                about.hasInputFilename() ? Optional.of(about.getInputFilename()) : Optional.empty(),
                message.hasTruncated() ? Optional.of(message.getTruncated()) : Optional.empty(),
                message.hasMediaDurationSec()
                        ? OptionalDouble.of(message.getMediaDurationSec())
                        : OptionalDouble.empty(),
                message.getAttempts(),
                new Result.Timings(
                        Details.duration(timings.getQueue()),
                        Details.duration(timings.getUpload()),
                        Details.duration(timings.getUpstream()),
                        Details.duration(timings.getDecode())),
                message.getUpstream(),
                message.hasFailure() ? Optional.of(failure(message.getFailure())) : Optional.empty(),
                requestId);
    }

    private static Failure failure(dev.embedwire.v1.Failure message) {
        var said = message.getUpstreamError();
        return new Failure(
                code(message.getCode()),
                reason(message),
                message.getMessage(),
                message.getFieldViolationsList().stream()
                        .map(each -> new Failure.FieldViolation(each.getField(), each.getDescription()))
                        .toList(),
                message.hasRetryDelay() ? Optional.of(Details.duration(message.getRetryDelay())) : Optional.empty(),
                message.getQuotaViolationsList().stream()
                        .map(each -> new Failure.QuotaViolation(each.getSubject(), each.getDescription()))
                        .toList(),
                message.hasUpstreamError()
                        ? Optional.of(new Failure.UpstreamReply(
                                said.getHttpStatus(),
                                said.getCode(),
                                said.getMessage(),
                                said.getDocsUrl(),
                                said.getRateLimitHeadersMap()))
                        : Optional.empty(),
                message.getCause());
    }

    /** The name of a status code; the number of one that this client does not know. */
    private static String code(int number) {
        Status.Code known = Status.fromCodeValue(number).getCode();
        return known.value() == number ? known.name() : String.valueOf(number);
    }

    private static String reason(dev.embedwire.v1.Failure message) {
        return switch (message.getReason()) {
            case ERROR_REASON_UNSPECIFIED -> "";
            case UNRECOGNIZED -> String.valueOf(message.getReasonValue());
            default -> message.getReason().name().substring("ERROR_REASON_".length());
        };
    }

    static Model model(dev.embedwire.v1.Model message) {
        var text = message.getText();
        var image = message.getImage();
        var audio = message.getAudio();
        return new Model(
                message.getName(),
                List.copyOf(message.getAliasesList()),
                message.getDimensions(),
                message.hasText()
                        ? Optional.of(new Model.TextSupport(
                                text.getMaxTokens(),
                                text.getTruncatesList().stream()
                                        .flatMap(Replies::truncate)
                                        .toList(),
                                text.getMaxBytes()))
                        : Optional.empty(),
                message.hasImage()
                        ? Optional.of(new Model.ImageSupport(
                                List.copyOf(image.getMediaTypesList()), image.getMaxBytes(), image.getMinSidePx()))
                        : Optional.empty(),
                message.hasAudio()
                        ? Optional.of(
                                new Model.AudioSupport(List.copyOf(audio.getMediaTypesList()), audio.getMaxBytes()))
                        : Optional.empty());
    }

    private static Stream<Text.Truncate> truncate(dev.embedwire.v1.Truncate message) {
        return switch (message) {
            case TRUNCATE_NONE -> Stream.of(Text.Truncate.NONE);
            case TRUNCATE_START -> Stream.of(Text.Truncate.START);
            case TRUNCATE_END -> Stream.of(Text.Truncate.END);
            case TRUNCATE_UNSPECIFIED, UNRECOGNIZED -> Stream.empty();
        };
    }
}
