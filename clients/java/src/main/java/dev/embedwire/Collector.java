package dev.embedwire;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** Collects the segments of each input until its result, and discards those of failed inputs. */
final class Collector {
    private final Map<Integer, List<Segment>> segments = new HashMap<>();

    /** Adds an event and returns the embedding that it completes. */
    Optional<Embedding> add(Event event) {
        if (event instanceof Segment segment) {
            segments.computeIfAbsent(segment.inputIndex(), index -> new ArrayList<>())
                    .add(segment);
            return Optional.empty();
        }
        if (!(event instanceof Result result)) {
            return Optional.empty();
        }
        List<Segment> found = segments.remove(result.inputIndex());
        boolean isEmpty = found == null || result.failure().isPresent();
        return Optional.of(new Embedding(result, isEmpty ? List.of() : found));
    }
}
