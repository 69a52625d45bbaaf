import dev.embedwire.Audio;
import dev.embedwire.EmbedwireClient;
import dev.embedwire.Segmentation;
import dev.embedwire.Source;
import dev.embedwire.v1.ProcessingMode;
import java.nio.file.Path;
import java.util.List;

/** Embeds a part of an audio file in windows of four seconds. Takes the target, 127.0.0.1:50051 by default. */
class AudioOptions {
    public static void main(String[] arguments) {
        String target = arguments.length > 0 ? arguments[0] : "127.0.0.1:50051";
        var audio = Audio.of(Source.path(Path.of("melody.flac")))
                .withStartOffsetSec(2)
                .withEndOffsetSec(14)
                .withSegmentation(Segmentation.fixed(4))
                .withEmbeddingOptions(List.of("audio", "transcription"))
                .withEmbeddingScopes(List.of("clip", "asset"))
                .withProcessingMode(ProcessingMode.PROCESSING_MODE_SYNC);
        try (var client = EmbedwireClient.builder(target).build()) {
            for (var segment : client.embed("marengo3.0", audio).segments()) {
                System.out.println(segment.embeddingScope() + " " + segment.embeddingOption() + " from second "
                        + segment.startOffsetSec().orElse(0));
            }
        }
    }
}
