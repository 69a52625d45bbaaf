package dev.embedwire;

import dev.embedwire.v1.InputResult;
import dev.embedwire.v1.Timings;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;

/** The last event of one input, after its last segment. If it has a failure, the segments are invalid. */
public final class Result extends Event {
    private final InputResult message;
    private final String requestId;

    /** Whether the server reused a result. */
    public enum CacheStatus {
        /** The result is from the cache of the server. */
        HIT,
        /** The result is that of the upstream request of an identical input, which was in flight. */
        COALESCED,
        /** Neither. */
        MISS,
        /** A status that this version of the client does not know. */
        UNKNOWN
    }

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

    /** {@return the model name as reported by the upstream; empty if the input failed} */
    public String modelName() {
        return message.getModelName();
    }

    /** {@return the length of each vector; 0 if the input failed} */
    public int dimensions() {
        return message.getDimensions();
    }

    /** {@return the number of segments of this input} */
    public int segmentCount() {
        return message.getSegmentCount();
    }

    /** {@return the URL of the media, as reported by the upstream; empty for other inputs} */
    public Optional<String> inputUrl() {
        var media = message.getMetadata();
        return media.hasInputUrl() ? Optional.of(media.getInputUrl()) : Optional.empty();
    }

    /** {@return the name of the file, as reported by the upstream; empty for other inputs} */
    public Optional<String> inputFilename() {
        var media = message.getMetadata();
        return media.hasInputFilename() ? Optional.of(media.getInputFilename()) : Optional.empty();
    }

    /** {@return whether the input was truncated; empty if the upstream does not report it} */
    public Optional<Boolean> truncated() {
        return message.hasTruncated() ? Optional.of(message.getTruncated()) : Optional.empty();
    }

    /** {@return the duration of the audio in seconds; empty if the upstream does not report it} */
    public OptionalDouble mediaDurationSec() {
        return message.hasMediaDurationSec()
                ? OptionalDouble.of(message.getMediaDurationSec())
                : OptionalDouble.empty();
    }

    /** {@return the number of upstream requests} */
    public int attempts() {
        return message.getAttempts();
    }

    /** {@return the time of each phase, as a message of the contract} */
    public Timings timings() {
        return message.getTimings();
    }

    /**
     * {@return the kind of upstream: "twelvelabs", "sandbox" or "custom"; vectors of the sandbox are synthetic, so do
     * not store them in a production index}
     */
    public String upstream() {
        return message.getUpstream();
    }

    /** {@return the number of input tokens by kind of content, for instance "audio", as reported by the upstream} */
    public Map<String, Long> inputTokens() {
        return message.getInputTokensMap();
    }

    /** {@return the identifier of the upstream's task; empty if there was none} */
    public String upstreamTaskId() {
        return message.getUpstreamTaskId();
    }

    /** {@return whether the server reused a result; empty if it does not reuse results of such inputs} */
    public Optional<CacheStatus> cacheStatus() {
        return switch (message.getCacheStatus()) {
            case CACHE_STATUS_UNSPECIFIED -> Optional.empty();
            case CACHE_STATUS_HIT -> Optional.of(CacheStatus.HIT);
            case CACHE_STATUS_COALESCED -> Optional.of(CacheStatus.COALESCED);
            case CACHE_STATUS_MISS -> Optional.of(CacheStatus.MISS);
            default -> Optional.of(CacheStatus.UNKNOWN);
        };
    }

    /** {@return the failure of the input; empty means success} */
    public Optional<Failure> failure() {
        return message.hasFailure() ? Optional.of(new Failure(message.getFailure())) : Optional.empty();
    }

    /** {@return the id of the call in the server's log} */
    public String requestId() {
        return requestId;
    }

    /**
     * Throws the failure of the input, if there is one.
     *
     * @throws EmbedwireException the input failed
     */
    public void throwFailure() {
        if (message.hasFailure()) {
            throw new Failure(message.getFailure()).exception(requestId, attempts());
        }
    }

    /** {@return a description without keys and names, which belong to the caller} */
    @Override
    public String toString() {
        return "Result[input " + inputIndex() + ", "
                + failure().map(Failure::toString).orElse(segmentCount() + " segments") + "]";
    }
}
