package dev.embedwire;

import static java.util.Objects.requireNonNull;

import java.util.OptionalDouble;

/**
 * An audio file. Gives segments over time. Which formats a model takes, {@link Model#audio} says.
 *
 * @param source where its bytes are
 * @param key comes back with every event of this input; at most 256 bytes of UTF-8
 * @param startOffsetSec where to start, in seconds from the beginning of the file; offsets in the answer count from the
 *     beginning all the same
 */
public record Audio(Source source, String key, OptionalDouble startOffsetSec) implements Input {
    /**
     * Checks that nothing is null.
     *
     * @param source see above
     * @param key see above
     * @param startOffsetSec see above
     */
    public Audio {
        requireNonNull(source, "source");
        requireNonNull(key, "key");
        requireNonNull(startOffsetSec, "startOffsetSec");
    }

    /**
     * A whole file, without a key.
     *
     * @param source where its bytes are
     * @return the input
     */
    public static Audio of(Source source) {
        return new Audio(source, "", OptionalDouble.empty());
    }

    /**
     * The same with a key.
     *
     * @param key comes back with every event of this input
     * @return the input
     */
    public Audio withKey(String key) {
        return new Audio(source, key, startOffsetSec);
    }

    /**
     * The same from a later place on.
     *
     * @param seconds from the beginning of the file
     * @return the input
     */
    public Audio withStartOffsetSec(double seconds) {
        return new Audio(source, key, OptionalDouble.of(seconds));
    }

    /** Without the key, which is the caller's own. */
    @Override
    public String toString() {
        return "Audio[" + source + "]";
    }
}
