package dev.embedwire;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.io.InputStream;
import java.util.List;
import java.util.OptionalLong;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** Which inputs make a call. Times are given, so nothing waits. */
class InputQueueTest {
    private static final long MS = TimeUnit.MILLISECONDS.toNanos(1);
    private final InputQueue queue = new InputQueue(3);

    /** A group is sent when it is full, 50 ms after its first input, or at the end of the iterator. */
    @Test
    void groups() throws IOException {
        for (int position = 0; position < 5; position++) {
            add(position, Text.of("a"));
        }
        assertEquals(List.of(0, 1, 2), take(0, false));
        assertEquals(53 * MS, queue.due(false)); // input 3 was read at 3 ms
        assertEquals(List.of(), take(52, false));
        assertEquals(List.of(3, 4), take(53, false));
        add(5, Text.of("a"));
        assertEquals(List.of(5), take(5, true));
        assertEquals(MapRun.NEVER, queue.due(true));
    }

    /** A group has at most 1 MiB, of files and texts together. */
    @Test
    void groupsBySize() throws IOException {
        add(0, image(600_000));
        add(1, Text.of("é".repeat(250_000)));
        add(2, image(1 << 20));
        assertEquals(List.of(0), take(2, false));
        assertEquals(List.of(1), take(2, false));
        assertEquals(List.of(), take(2, false));
        assertEquals(List.of(2), take(52, false));
    }

    /** A file that has to be uploaded is a call of its own. It neither delays nor closes the group that is open. */
    @Test
    void uploads() throws IOException {
        add(0, Text.of("a"));
        add(1, image((1 << 20) + 1));
        add(2, Image.of(Source.stream(InputStream.nullInputStream())));
        add(3, Text.of("b"));
        assertEquals(List.of(1), take(3, false));
        assertEquals(List.of(0, 3), take(50, false)); // before the other upload, which was read later
        assertEquals(List.of(2), take(50, false));
    }

    /** What is sent again goes first, and ends at its deadline. */
    @Test
    void again() throws IOException {
        add(0, Text.of("a"));
        queue.addFirst(new Batch(List.of(input(8, Text.of("b"))), 70 * MS));
        queue.addFirst(new Batch(List.of(input(9, Text.of("c"))), 90 * MS));
        assertEquals(70 * MS, queue.deadline());
        assertEquals(List.of(), queue.expired(69 * MS));
        assertEquals(8, queue.expired(70 * MS).get(0).inputs().get(0).position());
        assertEquals(List.of(9), take(70, true));
        assertEquals(List.of(0), take(70, true));
    }

    private static Image image(int size) {
        return Image.of(Source.data(new byte[size]));
    }

    private static MapInput input(int position, Input input) throws IOException {
        return new MapInput(position, input, OptionalLong.empty(), position * MS).measured();
    }

    private void add(int position, Input input) throws IOException {
        queue.add(input(position, input));
    }

    private List<Integer> take(long milliseconds, boolean isComplete) {
        return queue.take(milliseconds * MS, isComplete)
                .map(batch -> batch.inputs().stream().map(MapInput::position).toList())
                .orElse(List.of());
    }
}
