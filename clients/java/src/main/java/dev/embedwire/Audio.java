package dev.embedwire;

import dev.embedwire.v1.AudioInput;
import dev.embedwire.v1.MediaSource;
import dev.embedwire.v1.ProcessingMode;
import java.util.List;
import java.util.Optional;

/**
 * An audio file to embed. It yields segments over time. {@link EmbedwireClient#models} returns the values of the
 * options that a model supports; an option that is left out has the model's default.
 */
public final class Audio extends Input {
    private final AudioInput options; // without a source

    private Audio(Source source, String key, AudioInput options) {
        super("audio", Optional.of(source), key);
        this.options = options;
    }

    /** Returns an input for a whole file, without a key. */
    public static Audio of(Source source) {
        return new Audio(source, "", AudioInput.getDefaultInstance());
    }

    /** Returns this input with a key of at most 256 bytes of UTF-8, which is returned with each of its events. */
    public Audio withKey(String key) {
        return new Audio(source().orElseThrow(), key, options);
    }

    /**
     * Returns this input with a start offset, in seconds from the beginning of the file. Offsets of segments also count
     * from the beginning of the file.
     */
    public Audio withStartOffsetSec(double seconds) {
        return with(options.toBuilder().setStartOffsetSec(seconds));
    }

    /** Returns this input with an end offset, in seconds from the beginning of the file, after the start. */
    public Audio withEndOffsetSec(double seconds) {
        return with(options.toBuilder().setEndOffsetSec(seconds));
    }

    /** Returns this input with a division into segments. */
    public Audio withSegmentation(Segmentation segmentation) {
        return with(options.toBuilder().setSegmentation(segmentation.toProto()));
    }

    /**
     * Returns this input with the aspects to embed, for instance "audio" and "transcription". Each window has one
     * segment for each. None means all of them.
     */
    public Audio withEmbeddingOptions(List<String> names) {
        return with(options.toBuilder().clearEmbeddingOptions().addAllEmbeddingOptions(names));
    }

    /**
     * Returns this input with the scopes of its segments: "clip" for windows, "asset" for the whole file. None means
     * "clip".
     */
    public Audio withEmbeddingScopes(List<String> names) {
        return with(options.toBuilder().clearEmbeddingScopes().addAllEmbeddingScopes(names));
    }

    /**
     * Returns this input with the types of its vectors: "separate_embedding" for one of each aspect, "fused_embedding"
     * for a common one of all. None means "separate_embedding".
     */
    public Audio withEmbeddingTypes(List<String> names) {
        return with(options.toBuilder().clearEmbeddingTypes().addAllEmbeddingTypes(names));
    }

    /**
     * Returns this input with the way in which the upstream processes it: one synchronous request, which rejects long
     * audio, or a task, which the upstream completes in the background. A task cannot be cancelled, and is billed even
     * if the call ends before. By default the server selects the mode.
     */
    public Audio withProcessingMode(ProcessingMode mode) {
        return with(options.toBuilder().setProcessingMode(mode));
    }

    private Audio with(AudioInput.Builder options) {
        return new Audio(source().orElseThrow(), key(), options.build());
    }

    @Override
    void write(dev.embedwire.v1.Input.Builder message, MediaSource media) {
        message.setAudio(options.toBuilder().setSource(media));
    }
}
