package dev.embedwire;

import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/** What one model accepts and returns. */
public final class Model {
    private final dev.embedwire.v1.Model message;

    Model(dev.embedwire.v1.Model message) {
        this.message = message;
    }

    /** {@return the name to put into a request} */
    public String name() {
        return message.getName();
    }

    /** {@return other spellings that mean the same model} */
    public List<String> aliases() {
        return List.copyOf(message.getAliasesList());
    }

    /** {@return the length of every vector; vectors of different models are not comparable} */
    public int dimensions() {
        return message.getDimensions();
    }

    /** {@return what it accepts as text; empty if nothing} */
    public Optional<TextSupport> text() {
        return message.hasText() ? Optional.of(new TextSupport(message.getText())) : Optional.empty();
    }

    /** {@return what it accepts as images; empty if nothing} */
    public Optional<ImageSupport> image() {
        return message.hasImage() ? Optional.of(new ImageSupport(message.getImage())) : Optional.empty();
    }

    /** {@return what it accepts as audio; empty if nothing} */
    public Optional<AudioSupport> audio() {
        return message.hasAudio() ? Optional.of(new AudioSupport(message.getAudio())) : Optional.empty();
    }

    /** {@return the name} */
    @Override
    public String toString() {
        return "Model[" + name() + "]";
    }

    /** The text that a model accepts. */
    public static final class TextSupport {
        private final dev.embedwire.v1.TextSupport message;

        private TextSupport(dev.embedwire.v1.TextSupport message) {
            this.message = message;
        }

        /** {@return the longest text in tokens, for information: the upstream's tokenizer is not public} */
        public int maxTokens() {
            return message.getMaxTokens();
        }

        /** {@return what the model can do with a longer text; values that this client does not know are left out} */
        public List<Text.Truncate> truncates() {
            return message.getTruncatesList().stream()
                    .flatMap(each -> Stream.of(Text.Truncate.values()).filter(known -> known.toProto() == each))
                    .filter(known -> known != Text.Truncate.DEFAULT)
                    .toList();
        }

        /** {@return the longest text in bytes of UTF-8 that the server accepts} */
        public long maxBytes() {
            return message.getMaxBytes();
        }
    }

    /** The images that a model accepts. */
    public static final class ImageSupport {
        private final dev.embedwire.v1.ImageSupport message;

        private ImageSupport(dev.embedwire.v1.ImageSupport message) {
            this.message = message;
        }

        /** {@return the media types, for instance "image/png"} */
        public List<String> mediaTypes() {
            return List.copyOf(message.getMediaTypesList());
        }

        /** {@return the largest file in bytes} */
        public long maxBytes() {
            return message.getMaxBytes();
        }

        /** {@return the least width and height in pixels} */
        public int minSidePx() {
            return message.getMinSidePx();
        }
    }

    /** The audio that a model accepts. */
    public static final class AudioSupport {
        private final dev.embedwire.v1.AudioSupport message;

        private AudioSupport(dev.embedwire.v1.AudioSupport message) {
            this.message = message;
        }

        /** {@return the media types, for instance "audio/mpeg"} */
        public List<String> mediaTypes() {
            return List.copyOf(message.getMediaTypesList());
        }

        /** {@return the largest file in bytes} */
        public long maxBytes() {
            return message.getMaxBytes();
        }
    }
}
