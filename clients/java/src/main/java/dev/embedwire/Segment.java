package dev.embedwire;

import java.util.OptionalDouble;

/** One vector of one input. It is provisional: a failed {@link Result} of the same input makes it invalid. */
public final class Segment extends Event {
    private final dev.embedwire.v1.Segment message; // without its vector
    private final float[] vector;

    Segment(dev.embedwire.v1.Segment message, float[] vector) {
        this.message = message;
        this.vector = vector;
    }

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

    /** The same segment of an input at another position. */
    Segment at(int position) {
        return new Segment(message.toBuilder().setInputIndex(position).build(), vector);
    }

    @Override
    public int inputIndex() {
        return message.getInputIndex();
    }

    @Override
    public String inputKey() {
        return message.getInputKey();
    }

    /** {@return its position among the segments of the input, counted from 0, in the upstream's order} */
    public int segmentIndex() {
        return message.getSegmentIndex();
    }

    /** {@return what it is a part of} */
    public Modality modality() {
        return switch (message.getModalityCase()) {
            case TEXT -> Modality.TEXT;
            case IMAGE -> Modality.IMAGE;
            case AUDIO -> Modality.AUDIO;
            default -> Modality.UNKNOWN;
        };
    }

    /** {@return the embedding; the array is not copied} */
    public float[] vector() {
        return vector;
    }

    /** {@return the start of the window, in seconds from the beginning of the file; empty unless it is audio} */
    public OptionalDouble startOffsetSec() {
        return message.hasAudio() ? OptionalDouble.of(message.getAudio().getStartOffsetSec()) : OptionalDouble.empty();
    }

    /** {@return the end of the window, likewise; empty also if the upstream does not report it} */
    public OptionalDouble endOffsetSec() {
        return message.getAudio().hasEndOffsetSec()
                ? OptionalDouble.of(message.getAudio().getEndOffsetSec())
                : OptionalDouble.empty();
    }

    /** {@return which part of the audio was embedded, for instance "transcription"; empty if that is not reported} */
    public String embeddingOption() {
        return message.getAudio().getEmbeddingOption();
    }

    /** {@return a text without the key, which is the caller's own, and without the vector, which is long} */
    @Override
    public String toString() {
        return "Segment[input " + inputIndex() + ", segment " + segmentIndex() + ", " + modality() + "]";
    }
}
