import dev.embedwire.Audio;
import dev.embedwire.EmbedwireClient;
import dev.embedwire.Image;
import dev.embedwire.Source;
import dev.embedwire.Text;
import java.nio.file.Path;
import java.util.List;

/** Embeds a text, an image and an audio file. Takes the target, 127.0.0.1:50051 by default. */
class Embed {
    public static void main(String[] arguments) {
        String target = arguments.length > 0 ? arguments[0] : "127.0.0.1:50051";
        try (var client = EmbedwireClient.builder(target).build()) {
            var fox = client.embed("marengo3.0", Text.of("a red fox in the snow"));
            System.out.println(fox.vector().length + " " + fox.result().modelName());

            var image = Image.of(Source.path(Path.of("picture.png")));
            var audio = Audio.of(Source.path(Path.of("melody.flac"))).withStartOffsetSec(2);
            for (var embedding : client.embed("marengo3.0", List.of(image, audio))) {
                var first = embedding.segments().get(0);
                System.out.println(
                        first + ", the first of " + embedding.segments().size());
            }
        }
    }
}
