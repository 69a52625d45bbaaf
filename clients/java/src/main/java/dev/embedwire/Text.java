package dev.embedwire;

import static java.util.Objects.requireNonNull;

import dev.embedwire.v1.MediaSource;
import dev.embedwire.v1.TextInput;
import dev.embedwire.v1.Truncate;
import java.nio.charset.StandardCharsets;
import java.util.Optional;

/** A text to embed. It yields one segment. */
public final class Text extends Input {
    private final String value;
    private final Truncate truncate;

    private Text(String value, String key, Truncate truncate) {
        super("text", Optional.empty(), key);
        this.value = requireNonNull(value, "value");
        this.truncate = requireNonNull(truncate, "truncate");
    }

    /** Returns an input for a text: not empty, at most 64 KiB of UTF-8 unless the server is configured otherwise. */
    public static Text of(String value) {
        return new Text(value, "", Truncate.TRUNCATE_UNSPECIFIED);
    }

    /** Returns this input with a key of at most 256 bytes of UTF-8, which is returned with each of its events. */
    public Text withKey(String key) {
        return new Text(value, key, truncate);
    }

    /** Returns this input with the end to cut off if the text has more tokens than the model accepts. */
    public Text withTruncate(Truncate truncate) {
        return new Text(value, key(), truncate);
    }

    /** Returns the length of the text in bytes of UTF-8. */
    int bytes() {
        return value.getBytes(StandardCharsets.UTF_8).length;
    }

    @Override
    void write(dev.embedwire.v1.Input.Builder message, MediaSource media) {
        message.setText(TextInput.newBuilder().setValue(value).setTruncate(truncate));
    }
}
