package dev.embedwire;

import java.io.IOException;
import java.util.OptionalLong;

/**
 * One input of a run.
 *
 * @param position its position in the caller's iterator
 * @param size bytes of its content; empty if that is not known, or not yet, and then it can be read only once
 * @param readAt when it was read, in nanoseconds of the run
 */
record MapInput(int position, Input input, OptionalLong size, long readAt) {
    /** The same input with its size. */
    MapInput measured() throws IOException {
        OptionalLong found = input instanceof Text text
                ? OptionalLong.of(text.bytes())
                : input.source().orElseThrow().size();
        return new MapInput(position, input, found, readAt);
    }

    /** Whether it is a file that has to be uploaded, by a call of its own. */
    boolean isUpload() {
        return input.source().isPresent() && size.orElse(Long.MAX_VALUE) > Request.INLINE_BYTES;
    }

    /** Whether sending it reads a file first, which may block. */
    boolean isInlineFile() {
        return !isUpload()
                && input.source().filter(source -> source.url().isEmpty()).isPresent();
    }

    /** Whether it can be read only once and bytes of it may have been read. */
    boolean isSpent() {
        return size.isEmpty() && input.source().orElseThrow().isOpened();
    }
}
