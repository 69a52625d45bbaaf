package dev.embedwire;

import static java.util.Objects.requireNonNull;

import dev.embedwire.v1.MediaSource;
import java.util.Optional;

/** An input to embed: a {@link Text}, an {@link Image} or an {@link Audio}. */
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

    /** {@return the key, which is returned with each event of this input; empty by default} */
    public final String key() {
        return key;
    }

    final String kind() {
        return kind;
    }

    final Optional<Source> source() {
        return source;
    }

    /** Encodes the input. {@code media} is the source of its file; a text ignores it. */
    abstract void write(dev.embedwire.v1.Input.Builder message, MediaSource media);

    /** {@return a description without content and key, which belong to the caller} */
    @Override
    public final String toString() {
        return getClass().getSimpleName() + "[" + source.map(Source::toString).orElse("...") + "]";
    }
}
