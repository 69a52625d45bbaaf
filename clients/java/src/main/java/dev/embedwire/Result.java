package dev.embedwire;

import java.time.Duration;
import java.util.Optional;
import java.util.OptionalDouble;

/**
 * The end of one input, after its last segment. With a failure, its segments are void.
 *
 * @param inputIndex which input, counted from 0 in the request
 * @param inputKey the key of that input
 * @param modelName the model as the upstream names it; empty if the input failed
 * @param dimensions length of each vector; 0 if the input failed
 * @param segmentCount how many segments were sent for this input
 * @param inputUrl the URL of the media, in the upstream's words; empty for anything else
 * @param inputFilename the name of the file, in the upstream's words; empty for anything else
 * @param truncated whether the input was cut; empty if the upstream does not tell
 * @param mediaDurationSec length of the audio in seconds; empty if the upstream does not tell
 * @param attempts how many upstream requests were made
 * @param timings where the time went
 * @param upstream the upstream: "twelvelabs", "sandbox" or "custom"; vectors of the sandbox are not those of the real
 *     model, do not store them in a real index
 * @param failure why the input failed; empty means success
 * @param requestId the id of the call, under which the server's log has the details
 */
public record Result(
        int inputIndex,
        String inputKey,
        String modelName,
        int dimensions,
        int segmentCount,
        Optional<String> inputUrl,
        Optional<String> inputFilename,
        Optional<Boolean> truncated,
        OptionalDouble mediaDurationSec,
        int attempts,
        Timings timings,
        String upstream,
        Optional<Failure> failure,
        String requestId)
        implements Event {
    /**
     * Where the time of one input went.
     *
     * @param queue waiting for a turn within the server
     * @param upload waiting for the bytes of an upload
     * @param upstream waiting for the upstream, over all attempts
     * @param decode decoding the upstream's reply
     */
    public record Timings(Duration queue, Duration upload, Duration upstream, Duration decode) {}

    /**
     * Throws the failure, if there is one.
     *
     * @throws EmbedwireException the input failed
     */
    public void throwFailure() {
        failure.ifPresent(found -> {
            throw found.exception(requestId, attempts);
        });
    }

    /** Without keys and names, which are the caller's own. */
    @Override
    public String toString() {
        return "Result[input " + inputIndex + ", "
                + failure.map(Failure::toString).orElse(segmentCount + " segments") + "]";
    }
}
