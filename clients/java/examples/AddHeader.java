import dev.embedwire.EmbedwireClient;
import dev.embedwire.Text;
import io.grpc.Metadata;
import io.grpc.stub.MetadataUtils;

/** Sends a header with every call, by an interceptor. Takes the target, 127.0.0.1:50051 by default. */
class AddHeader {
    public static void main(String[] arguments) {
        String target = arguments.length > 0 ? arguments[0] : "127.0.0.1:50051";
        var headers = new Metadata();
        headers.put(Metadata.Key.of("x-tenant", Metadata.ASCII_STRING_MARSHALLER), "blue");
        try (var client = EmbedwireClient.builder(target)
                .interceptors(MetadataUtils.newAttachHeadersInterceptor(headers))
                .channel(channel -> channel.maxInboundMetadataSize(16 << 10))
                .build()) {
            System.out.println(client.embed("marengo3.0", Text.of("a red fox")));
        }
    }
}
