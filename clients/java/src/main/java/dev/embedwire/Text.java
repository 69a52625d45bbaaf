package dev.embedwire;

import static java.util.Objects.requireNonNull;

import dev.embedwire.v1.MediaSource;
import dev.embedwire.v1.TextInput;
import java.nio.charset.StandardCharsets;
import java.util.Optional;

/** A text. Gives one segment. */
public final class Text extends Input {
    private final String value;
    private final Truncate truncate;

    private Text(String value, String key, Truncate truncate) {
        super(key);
        this.value = requireNonNull(value, "value");
        this.truncate = requireNonNull(truncate, "truncate");
    }

    /** Which end of a too long text is cut off. {@link Model.TextSupport#truncates} lists what a model can do. */
    public enum Truncate {
        /** The upstream's default. */
        DEFAULT(dev.embedwire.v1.Truncate.TRUNCATE_UNSPECIFIED),
        /** Cut nothing: a too long text fails. */
        NONE(dev.embedwire.v1.Truncate.TRUNCATE_NONE),
        /** Cut the start. */
        START(dev.embedwire.v1.Truncate.TRUNCATE_START),
        /** Cut the end. */
        END(dev.embedwire.v1.Truncate.TRUNCATE_END);

        private final dev.embedwire.v1.Truncate message;

        Truncate(dev.embedwire.v1.Truncate message) {
            this.message = message;
        }

        dev.embedwire.v1.Truncate toProto() {
            return message;
        }
    }

    /**
     * A text without a key.
     *
     * @param value the text; not empty, at most 64 KiB of UTF-8 unless the server is configured otherwise
     * @return the input
     */
    public static Text of(String value) {
        return new Text(value, "", Truncate.DEFAULT);
    }

    /**
     * The same text with a key.
     *
     * @param key at most 256 bytes of UTF-8; comes back with every event of this input
     * @return the input
     */
    public Text withKey(String key) {
        return new Text(value, key, truncate);
    }

    /**
     * The same text with a choice of what is cut off if it has more tokens than the model reads.
     *
     * @param truncate which end
     * @return the input
     */
    public Text withTruncate(Truncate truncate) {
        return new Text(value, key(), truncate);
    }

    /** The length of the text in bytes of UTF-8. */
    int bytes() {
        return value.getBytes(StandardCharsets.UTF_8).length;
    }

    @Override
    Optional<Source> source() {
        return Optional.empty();
    }

    @Override
    String kind() {
        return "text";
    }

    @Override
    void write(dev.embedwire.v1.Input.Builder message, MediaSource media) {
        message.setText(TextInput.newBuilder().setValue(value).setTruncate(truncate.toProto()));
    }
}
