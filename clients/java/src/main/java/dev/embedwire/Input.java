package dev.embedwire;

import static java.util.Objects.requireNonNull;

import dev.embedwire.v1.MediaSource;
import java.util.Optional;

/** One thing to embed: a {@link Text}, an {@link Image} or an {@link Audio}. */
public abstract class Input {
    private final String kind;
    private final Optional<Source> source;
    private final String key;

    /** The kind is the name of the field in the contract; the source is that of a media file. */
    Input(String kind, Optional<Source> source, String key) {
        this.kind = kind;
        this.source = source;
        this.key = requireNonNull(key, "key");
    }

    /** {@return the key, which comes back with every event of this input; empty unless it was given} */
    public final String key() {
        return key;
    }

    final String kind() {
        return kind;
    }

    final Optional<Source> source() {
        return source;
    }

    /** Writes the input into a message. {@code media} says where the file is, and is not used for a text. */
    abstract void write(dev.embedwire.v1.Input.Builder message, MediaSource media);

    /** {@return a text without the content and the key, which are the caller's own} */
    @Override
    public final String toString() {
        return getClass().getSimpleName() + "[" + source.map(Source::toString).orElse("...") + "]";
    }
}
