package dev.embedwire;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/** Collects the events of a call, and drops the segments of inputs that failed. */
final class Collector {
    private final List<List<Segment>> segments;
    private final Result[] results;
    private final Replies replies;

    Collector(int inputs, Replies replies) {
        this.segments = Stream.generate(() -> (List<Segment>) new ArrayList<Segment>())
                .limit(inputs)
                .toList();
        this.results = new Result[inputs];
        this.replies = replies;
    }

    void add(Event event) {
        int index = event.inputIndex();
        if (index < 0 || index >= results.length) {
            throw replies.broken(
                    "the server answered inputs[" + Integer.toUnsignedString(index) + "], which does not exist");
        }
        if (event instanceof Segment segment) {
            segments.get(index).add(segment);
        } else if (event instanceof Result result) {
            results[index] = result;
            result.failure().ifPresent(failure -> segments.get(index).clear());
        }
    }

    /** One for each input, in the order of the request. */
    List<Embedding> embeddings() {
        List<Embedding> found = new ArrayList<>();
        for (int index = 0; index < results.length; index++) {
            if (results[index] == null) { // the call ended well, so the contract forbids it
                throw replies.broken("the server ended the call without a result for inputs[" + index + "]");
            }
            found.add(new Embedding(results[index], segments.get(index)));
        }
        return List.copyOf(found);
    }
}
