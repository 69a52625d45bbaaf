package dev.embedwire;

import java.util.OptionalDouble;

/**
 * One vector of one input. Provisional: a failed {@link Result} of the same input voids it.
 *
 * @param inputIndex which input it belongs to, counted from 0 in the request
 * @param inputKey the key of that input
 * @param segmentIndex its position among the segments of the input, counted from 0, in the upstream's order
 * @param modality what it is a part of
 * @param vector the embedding; the array is the caller's, and compared by identity
 * @param startOffsetSec start of the window, in seconds from the beginning of the file; empty unless audio
 * @param endOffsetSec end of the window, likewise; empty unless audio, or if the upstream does not tell
 * @param embeddingOption what of the audio was embedded, in the upstream's words, for instance "audio" or
 *     "transcription"; empty unless audio, or if the upstream does not say
 */
@SuppressWarnings("ArrayRecordComponent") // a copy for each look at a vector would be the greater surprise
public record Segment(
        int inputIndex,
        String inputKey,
        int segmentIndex,
        Modality modality,
        float[] vector,
        OptionalDouble startOffsetSec,
        OptionalDouble endOffsetSec,
        String embeddingOption)
        implements Event {
    /** What a segment is a part of. */
    public enum Modality {
        /** A text. */
        TEXT,
        /** An image. */
        IMAGE,
        /** An audio file. */
        AUDIO,
        /** Something that the server knows and this client does not. */
        UNKNOWN
    }

    /** Without the key, which is the caller's own, and the vector, which is long. */
    @Override
    public String toString() {
        return "Segment[input " + inputIndex + ", segment " + segmentIndex + ", " + modality + "]";
    }
}
