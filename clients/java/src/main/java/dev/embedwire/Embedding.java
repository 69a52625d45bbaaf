package dev.embedwire;

import java.util.List;

/**
 * Everything of one input.
 *
 * @param result how it ended
 * @param segments its segments in their order; none if the input failed
 */
public record Embedding(Result result, List<Segment> segments) {
    /**
     * Takes a copy of the list.
     *
     * @param result see above
     * @param segments see above
     */
    public Embedding {
        segments = List.copyOf(segments);
    }

    /**
     * The only vector, as texts and images have it.
     *
     * @return its values
     * @throws EmbedwireException the input failed
     * @throws IllegalStateException there are several segments, as audio has them
     */
    public float[] vector() {
        result.throwFailure();
        if (segments.size() != 1) {
            throw new IllegalStateException("there are " + segments.size() + " segments; take them from segments()");
        }
        return segments.get(0).vector();
    }
}
