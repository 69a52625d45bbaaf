import dev.embedwire.EmbedwireClient;
import dev.embedwire.MapOptions;
import dev.embedwire.Options;
import dev.embedwire.Text;
import java.time.Duration;
import java.util.stream.IntStream;

/** Embeds a thousand texts. Takes the target, 127.0.0.1:50051 by default. */
class EmbedMany {
    public static void main(String[] arguments) {
        String target = arguments.length > 0 ? arguments[0] : "127.0.0.1:50051";
        var texts = IntStream.range(0, 1000)
                .mapToObj(number -> Text.of("text number " + number).withKey("key-" + number));
        var options = MapOptions.builder()
                .concurrentCalls(4)
                .call(Options.builder().timeout(Duration.ofSeconds(30)).build())
                .build();
        try (var client = EmbedwireClient.builder(target).build();
                var embeddings = client.map("marengo3.0", texts.iterator(), options)) {
            int embedded = 0;
            for (var embedding : embeddings) {
                var result = embedding.result();
                if (result.failure().isPresent()) {
                    System.err.println(
                            result.inputKey() + ": " + result.failure().get().message());
                } else {
                    embedded++; // embedding.vector() is that of result.inputKey()
                }
            }
            System.out.println(embedded + " texts embedded");
        }
    }
}
