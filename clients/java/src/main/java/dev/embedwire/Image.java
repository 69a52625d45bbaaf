package dev.embedwire;

import dev.embedwire.v1.ImageInput;
import dev.embedwire.v1.MediaSource;
import java.util.Optional;

/** An image. Gives one segment. */
public final class Image extends Input {
    private Image(Source source, String key) {
        super("image", Optional.of(source), key);
    }

    /** An image without a key. */
    public static Image of(Source source) {
        return new Image(source, "");
    }

    /** The same image with a key of at most 256 bytes of UTF-8, which comes back with every event of this input. */
    public Image withKey(String key) {
        return new Image(source().orElseThrow(), key);
    }

    @Override
    void write(dev.embedwire.v1.Input.Builder message, MediaSource media) {
        message.setImage(ImageInput.newBuilder().setSource(media));
    }
}
