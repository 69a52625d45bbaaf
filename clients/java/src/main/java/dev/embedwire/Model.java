package dev.embedwire;

import java.util.List;
import java.util.Optional;

/**
 * What one model accepts and returns.
 *
 * @param name the name to put into a request
 * @param aliases other spellings that mean the same model
 * @param dimensions length of every vector; vectors of different models are not comparable
 * @param text what it takes as text; empty if it takes none
 * @param image what it takes as images; empty if it takes none
 * @param audio what it takes as audio; empty if it takes none
 */
public record Model(
        String name,
        List<String> aliases,
        int dimensions,
        Optional<TextSupport> text,
        Optional<ImageSupport> image,
        Optional<AudioSupport> audio) {
    /**
     * The text that a model accepts.
     *
     * @param maxTokens longest text in tokens, for information: the upstream's tokenizer is not public
     * @param truncates what the model can honour; what this client does not know is left out
     * @param maxBytes longest text in bytes of UTF-8 that the server accepts
     */
    public record TextSupport(int maxTokens, List<Text.Truncate> truncates, long maxBytes) {}

    /**
     * The images that a model accepts.
     *
     * @param mediaTypes for instance "image/png"
     * @param maxBytes largest file in bytes
     * @param minSidePx least width and height in pixels
     */
    public record ImageSupport(List<String> mediaTypes, long maxBytes, int minSidePx) {}

    /**
     * The audio that a model accepts.
     *
     * @param mediaTypes for instance "audio/mpeg"
     * @param maxBytes largest file in bytes
     */
    public record AudioSupport(List<String> mediaTypes, long maxBytes) {}
}
