package dev.embedwire;

import java.util.Optional;
import java.util.OptionalDouble;

/** One vector of one input. It is provisional: a failed {@link Result} of the same input makes it invalid. */
public final class Segment extends Event {
    private final dev.embedwire.v1.Segment message; // without its vectors
    private final float[] vector;
    private final Optional<float[]> uncertainty;

    Segment(dev.embedwire.v1.Segment message, float[] vector, Optional<float[]> uncertainty) {
        this.message = message;
        this.vector = vector;
        this.uncertainty = uncertainty;
    }

    /** The modality of a segment. */
    public enum Modality {
        /** A text. */
        TEXT,
        /** An image. */
        IMAGE,
        /** An audio file. */
        AUDIO,
        /** A modality that this version of the client does not know. */
        UNKNOWN
    }

    /** Returns this segment with another input position. */
    Segment at(int position) {
        return new Segment(message.toBuilder().setInputIndex(position).build(), vector, uncertainty);
    }

    @Override
    public int inputIndex() {
        return message.getInputIndex();
    }

    @Override
    public String inputKey() {
        return message.getInputKey();
    }

    /** {@return the position among the segments of the input, from 0, in the order of the upstream} */
    public int segmentIndex() {
        return message.getSegmentIndex();
    }

    /** {@return the modality of its input} */
    public Modality modality() {
        return switch (message.getModalityCase()) {
            case TEXT -> Modality.TEXT;
            case IMAGE -> Modality.IMAGE;
            case AUDIO -> Modality.AUDIO;
            default -> Modality.UNKNOWN;
        };
    }

    /** {@return the embedding, of {@link Result#dimensions} values; the array is not copied} */
    public float[] vector() {
        return vector;
    }

    /** {@return the start of the window, in seconds from the beginning of the file; empty unless audio} */
    public OptionalDouble startOffsetSec() {
        return message.hasAudio() ? OptionalDouble.of(message.getAudio().getStartOffsetSec()) : OptionalDouble.empty();
    }

    /** {@return the end of the window, in seconds; empty unless audio, or if the upstream does not report it} */
    public OptionalDouble endOffsetSec() {
        return message.getAudio().hasEndOffsetSec()
                ? OptionalDouble.of(message.getAudio().getEndOffsetSec())
                : OptionalDouble.empty();
    }

    /** {@return the aspect of the audio that was embedded, for instance "transcription"; empty if not reported} */
    public String embeddingOption() {
        return message.getAudio().getEmbeddingOption();
    }

    /**
     * {@return the scope of the segment, "clip" for a window of audio or "asset" for a whole file; empty if not
     * reported}
     */
    public String embeddingScope() {
        return message.getAudio().getEmbeddingScope();
    }

    /**
     * {@return the uncertainty of each value of the vector; empty unless {@link Options.Builder#includeUncertainty} was
     * set and the upstream returned it; the array is not copied}
     */
    public Optional<float[]> uncertainty() {
        return uncertainty;
    }

    /** {@return a description without the key, which belongs to the caller, and without the vector, which is long} */
    @Override
    public String toString() {
        return "Segment[input " + inputIndex() + ", segment " + segmentIndex() + ", " + modality() + "]";
    }
}
