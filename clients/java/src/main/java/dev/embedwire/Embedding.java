package dev.embedwire;

import java.util.List;

/** The result of one input, with its segments. */
public final class Embedding {
    private final Result result;
    private final List<Segment> segments;

    Embedding(Result result, List<Segment> segments) {
        this.result = result;
        this.segments = List.copyOf(segments);
    }

    /** {@return how the input ended} */
    public Result result() {
        return result;
    }

    /** {@return the segments in their order; none if the input failed} */
    public List<Segment> segments() {
        return segments;
    }

    /**
     * Returns the only vector, for a text or an image.
     *
     * @return its values; the array is not copied
     * @throws EmbedwireException the input failed
     * @throws IllegalStateException there are several segments, as for audio
     */
    public float[] vector() {
        result.throwFailure();
        if (segments.size() != 1) {
            throw new IllegalStateException("there are " + segments.size() + " segments; take them from segments()");
        }
        return segments.get(0).vector();
    }

    /** {@return a text without keys, names and vectors} */
    @Override
    public String toString() {
        return "Embedding[" + result + "]";
    }
}
