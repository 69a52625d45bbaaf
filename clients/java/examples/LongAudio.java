import dev.embedwire.Audio;
import dev.embedwire.Embedding;
import dev.embedwire.EmbedwireClient;
import dev.embedwire.EmbedwireException;
import dev.embedwire.Options;
import dev.embedwire.Source;
import java.nio.file.Path;
import java.time.Duration;

/** Embeds an audio file, which may need a task of the upstream. Takes the target, 127.0.0.1:50051 by default. */
class LongAudio {
    public static void main(String[] arguments) {
        String target = arguments.length > 0 ? arguments[0] : "127.0.0.1:50051";
        var options = Options.builder()
                .timeout(Duration.ofMinutes(15))
                .onProgress(progress -> System.out.println(progress.stage() + " " + progress.upstreamTaskId()))
                .build();
        try (var client = EmbedwireClient.builder(target).build()) {
            Embedding embedding;
            try {
                embedding = client.embed("marengo3.0", Audio.of(Source.path(Path.of("melody.flac"))), options);
            } catch (EmbedwireException error) {
                if (error.upstreamTaskId().isEmpty()) {
                    throw error;
                }
                var earlier = Audio.of(Source.task(error.upstreamTaskId()));
                embedding = client.embed("marengo3.0", earlier, options);
            }
            System.out.println(embedding.segments().size() + " segments");
        }
    }
}
