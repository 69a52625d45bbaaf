import dev.embedwire.Audio;
import dev.embedwire.EmbedwireClient;
import dev.embedwire.Result;
import dev.embedwire.Segment;
import dev.embedwire.Source;
import dev.embedwire.Text;
import java.nio.file.Path;
import java.util.List;

/** Prints segments as they arrive. Takes the target, 127.0.0.1:50051 by default. */
class Events {
    public static void main(String[] arguments) {
        var audio = Audio.of(Source.path(Path.of("../python/examples/samples/melody.flac")));
        String target = arguments.length > 0 ? arguments[0] : "127.0.0.1:50051";
        try (var client = EmbedwireClient.builder(target).build();
                var events = client.stream("marengo3.0", List.of(Text.of("a red fox"), audio))) {
            while (events.hasNext()) {
                var event = events.next();
                if (event instanceof Segment segment) {
                    System.out.println("segment " + segment.inputIndex() + " " + segment.segmentIndex());
                } else if (event instanceof Result result) {
                    System.out.println(result.failure().isPresent() ? "failed  " + result : "done    " + result);
                }
            }
        }
    }
}
