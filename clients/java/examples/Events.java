import dev.embedwire.Audio;
import dev.embedwire.EmbedwireClient;
import dev.embedwire.Progress;
import dev.embedwire.Result;
import dev.embedwire.Segment;
import dev.embedwire.Source;
import dev.embedwire.Text;
import java.nio.file.Path;
import java.util.List;

/** Prints segments as they arrive. Takes the target, 127.0.0.1:50051 by default. */
class Events {
    public static void main(String[] arguments) {
        String target = arguments.length > 0 ? arguments[0] : "127.0.0.1:50051";
        var audio = Audio.of(Source.path(Path.of("melody.flac")));
        try (var client = EmbedwireClient.builder(target).build();
                var events = client.stream("marengo3.0", List.of(Text.of("a red fox"), audio))) {
            for (var event : events) {
                if (event instanceof Segment segment) {
                    System.out.println("segment " + segment.inputIndex() + " " + segment.segmentIndex());
                } else if (event instanceof Progress progress) {
                    System.out.println("stage   " + progress.inputIndex() + " " + progress.stage());
                } else if (event instanceof Result result) {
                    System.out.println(result.failure().isPresent() ? "failed  " + result : "done    " + result);
                }
            }
        }
    }
}
