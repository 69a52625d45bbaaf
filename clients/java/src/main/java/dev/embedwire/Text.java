package dev.embedwire;

import static java.util.Objects.requireNonNull;

/**
 * A text. Gives one segment.
 *
 * @param value the text; not empty, at most 64 KiB of UTF-8 unless the server says otherwise
 * @param key comes back with every event of this input; at most 256 bytes of UTF-8
 * @param truncate what to do with a text of more tokens than the model reads
 */
public record Text(String value, String key, Truncate truncate) implements Input {
    /** Which end of a too long text is cut off. {@link Model.TextSupport#truncates} lists what a model can do. */
    public enum Truncate {
        /** What the upstream does by itself. */
        DEFAULT,
        /** Neither: a too long text fails. */
        NONE,
        /** The start is cut off. */
        START,
        /** The end is cut off. */
        END
    }

    /**
     * Checks that nothing is null.
     *
     * @param value see above
     * @param key see above
     * @param truncate see above
     */
    public Text {
        requireNonNull(value, "value");
        requireNonNull(key, "key");
        requireNonNull(truncate, "truncate");
    }

    /**
     * A text without a key.
     *
     * @param value the text
     * @return the input
     */
    public static Text of(String value) {
        return new Text(value, "", Truncate.DEFAULT);
    }

    /**
     * The same with a key.
     *
     * @param key comes back with every event of this input
     * @return the input
     */
    public Text withKey(String key) {
        return new Text(value, key, truncate);
    }

    /**
     * The same with a choice of what is cut off.
     *
     * @param truncate which end
     * @return the input
     */
    public Text withTruncate(Truncate truncate) {
        return new Text(value, key, truncate);
    }

    /** Without content, which is the caller's own. */
    @Override
    public String toString() {
        return "Text[...]";
    }
}
