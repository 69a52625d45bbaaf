package dev.embedwire;

import static java.util.Objects.requireNonNull;

import dev.embedwire.v1.MediaSource;
import java.util.Optional;

/** One thing to embed: a {@link Text}, an {@link Image} or an {@link Audio}. */
public abstract class Input {
    private final String key;

    Input(String key) {
        this.key = requireNonNull(key, "key");
    }

    /** {@return the key, which comes back with every event of this input; empty unless it was given} */
    public final String key() {
        return key;
    }

    /** The media file; empty for a text. */
    abstract Optional<Source> source();

    /** How the contract calls this kind of input; the name of its field. */
    abstract String kind();

    /** Writes the input into a message. {@code media} says where the file is, and is not used for a text. */
    abstract void write(dev.embedwire.v1.Input.Builder message, MediaSource media);

    /** {@return a text without the content and the key, which are the caller's own} */
    @Override
    public String toString() {
        return getClass().getSimpleName() + "[" + source().map(Source::toString).orElse("...") + "]";
    }
}
