package dev.embedwire;

import static java.util.Objects.requireNonNull;

/**
 * An image. Gives one segment. Which formats a model takes, {@link Model#image} says.
 *
 * @param source where its bytes are
 * @param key comes back with every event of this input; at most 256 bytes of UTF-8
 */
public record Image(Source source, String key) implements Input {
    /**
     * Checks that nothing is null.
     *
     * @param source see above
     * @param key see above
     */
    public Image {
        requireNonNull(source, "source");
        requireNonNull(key, "key");
    }

    /**
     * An image without a key.
     *
     * @param source where its bytes are
     * @return the input
     */
    public static Image of(Source source) {
        return new Image(source, "");
    }

    /**
     * The same with a key.
     *
     * @param key comes back with every event of this input
     * @return the input
     */
    public Image withKey(String key) {
        return new Image(source, key);
    }

    /** Without the key, which is the caller's own. */
    @Override
    public String toString() {
        return "Image[" + source + "]";
    }
}
