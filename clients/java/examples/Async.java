import dev.embedwire.EmbedwireClient;
import dev.embedwire.Options;
import dev.embedwire.Text;
import java.util.List;

/** Embeds two texts without waiting for the first. Takes the target, 127.0.0.1:50051 by default. */
class Async {
    public static void main(String[] arguments) {
        String target = arguments.length > 0 ? arguments[0] : "127.0.0.1:50051";
        try (var client = EmbedwireClient.builder(target).build()) {
            var fox = client.embedAsync("marengo3.0", Text.of("a red fox"), Options.DEFAULT);
            var both = client.embedAsync("marengo3.0", List.of(Text.of("a dog"), Text.of("a cat")), Options.DEFAULT)
                    .thenCombine(fox, (others, one) -> others.size() + " texts and " + one);
            System.out.println(both.join());
        }
    }
}
