package dev.embedwire;

import com.google.protobuf.ByteString;
import dev.embedwire.v1.CreateEmbeddingUnaryResponse;
import dev.embedwire.v1.EmbeddingEvent;
import dev.embedwire.v1.ErrorReason;
import dev.embedwire.v1.FloatValues;
import dev.embedwire.v1.InputEmbedding;
import dev.embedwire.v1.InputResult;
import dev.embedwire.v1.Vector;
import io.grpc.Status;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** Decodes the messages of one call to events, and checks them against the contract. */
final class Replies {
    private final String requestId;
    private final int inputs;

    Replies(String requestId, int inputs) {
        this.requestId = requestId;
        this.inputs = inputs;
    }

    /** Decodes the events of one message. Unknown events are skipped, as the contract requires. */
    List<Event> events(List<EmbeddingEvent> messages) {
        List<Event> found = new ArrayList<>(messages.size());
        for (EmbeddingEvent message : messages) {
            if (message.hasSegment()) {
                found.add(segment(message.getSegment()));
            } else if (message.hasResult()) {
                found.add(result(message.getResult()));
            } else if (message.hasProgress()) {
                check(message.getProgress().getInputIndex());
                found.add(new Progress(message.getProgress()));
            }
        }
        return found;
    }

    /** Decodes a unary response to events. */
    List<Event> unary(CreateEmbeddingUnaryResponse message) {
        List<Event> found = new ArrayList<>();
        for (InputEmbedding each : message.getEmbeddingsList()) {
            each.getSegmentsList().forEach(segment -> found.add(segment(segment)));
            found.add(result(each.getResult()));
        }
        return found;
    }

    /** Returns one embedding for each input, in the order of the request, from all events of a successful call. */
    List<Embedding> embeddings(List<Event> events) {
        Embedding[] found = new Embedding[inputs];
        var collector = new Collector();
        for (Event event : events) {
            collector.add(event).ifPresent(ended -> found[ended.result().inputIndex()] = ended);
        }
        for (int index = 0; index < inputs; index++) {
            if (found[index] == null) {
                throw broken("the server ended the call without a result for inputs[" + index + "]");
            }
        }
        return List.of(found);
    }

    /** Returns the exception for a response that violates the contract. */
    EmbedwireException broken(String message) {
        return Failure.of(Status.Code.INTERNAL, ErrorReason.ERROR_REASON_INTERNAL, message)
                .exception(requestId, 0);
    }

    private Segment segment(dev.embedwire.v1.Segment message) {
        check(message.getInputIndex());
        return new Segment(
                message.toBuilder().clearVector().clearUncertainty().build(),
                vector(message.getVector()),
                message.hasUncertainty() ? Optional.of(vector(message.getUncertainty())) : Optional.empty());
    }

    private Result result(InputResult message) {
        check(message.getInputIndex());
        return new Result(message, requestId);
    }

    private void check(int index) {
        if (index < 0 || index >= inputs) {
            throw broken("the server answered inputs[" + index + "], which is not in the request");
        }
    }

    private float[] vector(Vector message) {
        return switch (message.getFormCase()) {
            case FLOAT_VALUES -> numbers(message.getFloatValues());
            case FLOAT32_LE -> packed(message.getFloat32Le());
            default -> throw broken("the server sent a vector in an unknown encoding");
        };
    }

    private static float[] numbers(FloatValues message) {
        float[] values = new float[message.getValuesCount()];
        for (int index = 0; index < values.length; index++) {
            values[index] = message.getValues(index);
        }
        return values;
    }

    private float[] packed(ByteString data) {
        if (data.size() % Float.BYTES != 0) {
            throw broken("the server sent a vector of " + data.size() + " bytes, which is no multiple of 4");
        }
        float[] values = new float[data.size() / Float.BYTES];
        data.asReadOnlyByteBuffer()
                .order(ByteOrder.LITTLE_ENDIAN)
                .asFloatBuffer()
                .get(values);
        return values;
    }
}
