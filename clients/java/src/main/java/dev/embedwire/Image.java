package dev.embedwire;

import dev.embedwire.v1.ImageInput;
import dev.embedwire.v1.MediaSource;
import java.util.Optional;

/** An image to embed. It yields one segment. */
public final class Image extends Input {
    private Image(Source source, String key) {
        super("image", Optional.of(source), key);
    }

    /** Returns an input for an image, without a key. */
    public static Image of(Source source) {
        return new Image(source, "");
    }

    /** Returns this input with a key of at most 256 bytes of UTF-8, which is returned with each of its events. */
    public Image withKey(String key) {
        return new Image(source().orElseThrow(), key);
    }

    @Override
    void write(dev.embedwire.v1.Input.Builder message, MediaSource media) {
        message.setImage(ImageInput.newBuilder().setSource(media));
    }
}
