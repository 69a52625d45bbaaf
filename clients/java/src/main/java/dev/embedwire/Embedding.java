package dev.embedwire;

import java.util.List;

/** The result and the segments of one input. */
public final class Embedding {
    private final Result result;
    private final List<Segment> segments;

    Embedding(Result result, List<Segment> segments) {
        this.result = result;
        this.segments = List.copyOf(segments);
    }

    /** {@return the result of the input} */
    public Result result() {
        return result;
    }

    /** {@return the segments in order; none if the input failed} */
    public List<Segment> segments() {
        return segments;
    }

    /**
     * Returns the vector of an input with one segment, such as a text or an image.
     *
     * @return the values; the array is not copied
     * @throws EmbedwireException the input failed
     * @throws IllegalStateException there are several segments, as for audio
     */
    public float[] vector() {
        result.throwFailure();
        if (segments.size() != 1) {
            throw new IllegalStateException("the input has " + segments.size() + " segments; use segments()");
        }
        return segments.get(0).vector();
    }

    /** {@return a description without keys, names and vectors} */
    @Override
    public String toString() {
        return "Embedding[" + result + "]";
    }
}
