package dev.embedwire;

import static java.util.Objects.requireNonNull;

import dev.embedwire.v1.ImageInput;
import dev.embedwire.v1.MediaSource;
import java.util.Optional;

/** An image. Gives one segment. */
public final class Image extends Input {
    private final Source source;

    private Image(Source source, String key) {
        super(key);
        this.source = requireNonNull(source, "source");
    }

    /** An image without a key. */
    public static Image of(Source source) {
        return new Image(source, "");
    }

    /** The same image with a key of at most 256 bytes of UTF-8, which comes back with every event of this input. */
    public Image withKey(String key) {
        return new Image(source, key);
    }

    @Override
    Optional<Source> source() {
        return Optional.of(source);
    }

    @Override
    String kind() {
        return "image";
    }

    @Override
    void write(dev.embedwire.v1.Input.Builder message, MediaSource media) {
        message.setImage(ImageInput.newBuilder().setSource(media));
    }
}
