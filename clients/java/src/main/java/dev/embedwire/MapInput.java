package dev.embedwire;

import java.io.IOException;
import java.util.OptionalLong;

/**
 * One input of a run.
 *
 * @param position its position in the caller's iterator
 * @param size bytes of its content; empty if unknown or not measured; if unknown, it can be read only once
 * @param readAt when it was read, in nanoseconds of the run
 */
record MapInput(int position, Input input, OptionalLong size, long readAt) {
    /** Returns this input with its size. */
    MapInput measured() throws IOException {
        OptionalLong found = input instanceof Text text
                ? OptionalLong.of(text.bytes())
                : input.source().orElseThrow().size();
        return new MapInput(position, input, found, readAt);
    }

    /** Returns whether it is a file that is uploaded, in a separate call. */
    boolean isUpload() {
        return input.source().isPresent() && size.orElse(Long.MAX_VALUE) > Request.INLINE_BYTES;
    }

    /** Returns whether its file is read into the request, which may block. */
    boolean isInlineFile() {
        return !isUpload()
                && input.source().filter(source -> source.remote().isEmpty()).isPresent();
    }

    /** Returns whether it can be read only once and bytes of it may have been read. */
    boolean isSpent() {
        return size.isEmpty() && input.source().orElseThrow().isOpened();
    }
}
