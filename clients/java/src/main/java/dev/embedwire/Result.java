package dev.embedwire;

import dev.embedwire.v1.InputResult;
import dev.embedwire.v1.Timings;
import java.util.Optional;
import java.util.OptionalDouble;

/** The end of one input, after its last segment. With a failure, its segments are invalid. */
public final class Result extends Event {
    private final InputResult message;
    private final String requestId;

    Result(InputResult message, String requestId) {
        this.message = message;
        this.requestId = requestId;
    }

    InputResult toProto() {
        return message;
    }

    @Override
    public int inputIndex() {
        return message.getInputIndex();
    }

    @Override
    public String inputKey() {
        return message.getInputKey();
    }

    /** {@return the model as the upstream names it; empty if the input failed} */
    public String modelName() {
        return message.getModelName();
    }

    /** {@return the length of each vector; 0 if the input failed} */
    public int dimensions() {
        return message.getDimensions();
    }

    /** {@return how many segments were sent for this input} */
    public int segmentCount() {
        return message.getSegmentCount();
    }

    /** {@return the URL of the media, in the upstream's words; empty for other inputs} */
    public Optional<String> inputUrl() {
        var media = message.getMetadata();
        return media.hasInputUrl() ? Optional.of(media.getInputUrl()) : Optional.empty();
    }

    /** {@return the name of the file, in the upstream's words; empty for other inputs} */
    public Optional<String> inputFilename() {
        var media = message.getMetadata();
        return media.hasInputFilename() ? Optional.of(media.getInputFilename()) : Optional.empty();
    }

    /** {@return whether the input was cut; empty if the upstream does not report it} */
    public Optional<Boolean> truncated() {
        return message.hasTruncated() ? Optional.of(message.getTruncated()) : Optional.empty();
    }

    /** {@return the length of the audio in seconds; empty if the upstream does not report it} */
    public OptionalDouble mediaDurationSec() {
        return message.hasMediaDurationSec()
                ? OptionalDouble.of(message.getMediaDurationSec())
                : OptionalDouble.empty();
    }

    /** {@return how many upstream requests were made} */
    public int attempts() {
        return message.getAttempts();
    }

    /** {@return where the time went, as a message of the contract} */
    public Timings timings() {
        return message.getTimings();
    }

    /**
     * {@return the upstream that answered: "twelvelabs", "sandbox" or "custom"; vectors of the sandbox are not those of
     * the real model, so do not store them in a production index}
     */
    public String upstream() {
        return message.getUpstream();
    }

    /** {@return why the input failed; empty means success} */
    public Optional<Failure> failure() {
        return message.hasFailure() ? Optional.of(new Failure(message.getFailure())) : Optional.empty();
    }

    /** {@return the id of the call; the server's log has the details under it} */
    public String requestId() {
        return requestId;
    }

    /**
     * Throws the failure, if there is one.
     *
     * @throws EmbedwireException the input failed
     */
    public void throwFailure() {
        if (message.hasFailure()) {
            throw new Failure(message.getFailure()).exception(requestId, attempts());
        }
    }

    /** {@return a text without keys and names, which are the caller's own} */
    @Override
    public String toString() {
        return "Result[input " + inputIndex() + ", "
                + failure().map(Failure::toString).orElse(segmentCount() + " segments") + "]";
    }
}
