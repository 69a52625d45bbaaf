package dev.embedwire;

import dev.embedwire.v1.AudioInput;
import dev.embedwire.v1.MediaSource;
import java.util.Optional;
import java.util.OptionalDouble;

/** An audio file to embed. It yields segments over time. */
public final class Audio extends Input {
    private final OptionalDouble startOffsetSec;

    private Audio(Source source, String key, OptionalDouble startOffsetSec) {
        super("audio", Optional.of(source), key);
        this.startOffsetSec = startOffsetSec;
    }

    /** Returns an input for a whole file, without a key. */
    public static Audio of(Source source) {
        return new Audio(source, "", OptionalDouble.empty());
    }

    /** Returns this input with a key of at most 256 bytes of UTF-8, which is returned with each of its events. */
    public Audio withKey(String key) {
        return new Audio(source().orElseThrow(), key, startOffsetSec);
    }

    /**
     * Returns this input with a start offset, in seconds from the beginning of the file. Offsets of segments also count
     * from the beginning of the file.
     */
    public Audio withStartOffsetSec(double seconds) {
        return new Audio(source().orElseThrow(), key(), OptionalDouble.of(seconds));
    }

    @Override
    void write(dev.embedwire.v1.Input.Builder message, MediaSource media) {
        var audio = AudioInput.newBuilder().setSource(media);
        startOffsetSec.ifPresent(audio::setStartOffsetSec);
        message.setAudio(audio);
    }
}
