package dev.embedwire.conformance;

import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import dev.embedwire.Audio;
import dev.embedwire.Embedding;
import dev.embedwire.EmbedwireClient;
import dev.embedwire.EmbedwireException;
import dev.embedwire.Event;
import dev.embedwire.EventStream;
import dev.embedwire.Failure;
import dev.embedwire.Image;
import dev.embedwire.Input;
import dev.embedwire.MapOptions;
import dev.embedwire.Options;
import dev.embedwire.Progress;
import dev.embedwire.Result;
import dev.embedwire.Segment;
import dev.embedwire.Segmentation;
import dev.embedwire.Source;
import dev.embedwire.Text;
import dev.embedwire.Tls;
import dev.embedwire.v1.AudioSupport;
import dev.embedwire.v1.ImageSupport;
import dev.embedwire.v1.Model;
import dev.embedwire.v1.ProcessingMode;
import dev.embedwire.v1.SegmentationRange;
import dev.embedwire.v1.TextSupport;
import dev.embedwire.v1.Truncate;
import dev.embedwire.v1.UpstreamError;
import dev.embedwire.v1.VectorEncoding;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.function.Function;

/**
 * The runner of the conformance suite (tests/conformance): a job a line in, an outcome a line out. It uses what is
 * public of the client, and never decides whether an outcome is right.
 */
final class Runner {
    private static final String PROCESSING_MODE = "PROCESSING_MODE_";

    private final JsonObject job;
    private final JsonArray events = new JsonArray();
    private final JsonArray progress = new JsonArray();
    private final JsonObject outcome = new JsonObject();

    private Runner(JsonObject job) {
        this.job = job;
    }

    public static void main(String[] arguments) throws IOException {
        var gson = new GsonBuilder().serializeNulls().create();
        var out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        try (var jobs = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            for (String line = jobs.readLine(); line != null; line = jobs.readLine()) {
                out.println(gson.toJson(new Runner(JsonParser.parseString(line).getAsJsonObject()).outcome()));
            }
        }
    }

    /** What came of the job. */
    private JsonObject outcome() {
        outcome.add("name", job.get("name"));
        outcome.add("events", events);
        outcome.add("progress", progress);
        outcome.add("models", null);
        outcome.add("error", null);
        outcome.addProperty("cancelled", false);
        try (EmbedwireClient client = client()) {
            call(client);
        } catch (IOException | RuntimeException error) { // whatever it is, it is the outcome
            outcome.add("error", error(error));
        }
        return outcome;
    }

    private void call(EmbedwireClient client) throws IOException {
        String call = job.get("call").getAsString();
        if (call.equals("models")) {
            outcome.add("models", array(client.models(), Runner::model));
            return;
        }
        String model = job.get("model").getAsString();
        List<Input> inputs = new ArrayList<>();
        List<InputStream> opened = new ArrayList<>();
        try {
            for (JsonElement spec : job.getAsJsonArray("inputs")) {
                inputs.add(input(spec.getAsJsonObject(), opened));
            }
            if (call.equals("stream")) {
                stream(client, model, inputs);
                return;
            }
            if (call.equals("map")) {
                map(client, model, inputs);
                return;
            }
            client.embed(model, inputs, options()).forEach(this::add);
        } finally {
            for (InputStream stream : opened) {
                stream.close();
            }
        }
    }

    private void map(EmbedwireClient client, String model, List<Input> inputs) {
        var options = MapOptions.builder();
        Optional<JsonObject> chosen = optional(job, "map").map(JsonElement::getAsJsonObject);
        chosen.flatMap(map -> optional(map, "inputs_per_call"))
                .ifPresent(value -> options.inputsPerCall(value.getAsInt()));
        chosen.flatMap(map -> optional(map, "concurrent_calls"))
                .ifPresent(value -> options.concurrentCalls(value.getAsInt()));
        chosen.flatMap(map -> optional(map, "run_timeout"))
                .ifPresent(value -> options.runTimeout(duration(value.getAsDouble())));
        chosen.flatMap(map -> optional(map, "count_waits"))
                .ifPresent(value -> options.countWaits(value.getAsBoolean()));
        try (var embeddings = client.map(model, inputs, options.call(options()).build())) {
            embeddings.forEachRemaining(this::add);
        }
    }

    private void add(Embedding embedding) {
        embedding.segments().forEach(segment -> events.add(event(segment)));
        events.add(event(embedding.result()));
    }

    private void stream(EmbedwireClient client, String model, List<Input> inputs) {
        int cancelAfter =
                optional(job, "cancel_after").map(JsonElement::getAsInt).orElse(-1);
        try (EventStream stream = client.stream(model, inputs, options())) {
            while (stream.hasNext()) {
                events.add(event(stream.next()));
                if (events.size() == cancelAfter) {
                    outcome.addProperty("cancelled", true);
                    return;
                }
            }
        }
    }

    private EmbedwireClient client() throws IOException {
        var builder = EmbedwireClient.builder(job.get("target").getAsString());
        Optional<JsonObject> tls = optional(job, "tls").map(JsonElement::getAsJsonObject);
        if (tls.isPresent()) {
            builder.tls(tls(tls.get()));
        }
        optional(job, "token").ifPresent(value -> builder.token(value.getAsString()));
        optional(job, "upstream_api_key").ifPresent(value -> builder.upstreamApiKey(value.getAsString()));
        optional(job, "timeout").ifPresent(value -> builder.timeout(duration(value.getAsDouble())));
        optional(job, "channels").ifPresent(value -> builder.channels(value.getAsInt()));
        return builder.waitForReady(job.get("wait_for_ready").getAsBoolean()).build();
    }

    private static Tls tls(JsonObject spec) throws IOException {
        Tls tls = Tls.DEFAULT;
        if (optional(spec, "root_certificates").isPresent()) {
            tls = tls.withRootCertificates(bytes(spec, "root_certificates"));
        }
        if (optional(spec, "certificate_chain").isPresent()) {
            tls = tls.withClientCertificate(bytes(spec, "certificate_chain"), bytes(spec, "private_key"));
        }
        Optional<JsonElement> name = optional(spec, "server_name");
        return name.isPresent() ? tls.withServerName(name.get().getAsString()) : tls;
    }

    private static byte[] bytes(JsonObject spec, String name) throws IOException {
        return Files.readAllBytes(Path.of(spec.get(name).getAsString()));
    }

    private Options options() {
        var options = Options.builder();
        optional(job, "max_retries").ifPresent(value -> options.maxRetries(value.getAsInt()));
        optional(job, "request_id").ifPresent(value -> options.requestId(value.getAsString()));
        optional(job, "encoding")
                .map(value -> value.getAsString().toUpperCase(Locale.ROOT))
                .ifPresent(value -> options.encoding(VectorEncoding.valueOf("VECTOR_ENCODING_" + value)));
        optional(job, "dimensions").ifPresent(value -> options.dimensions(value.getAsInt()));
        options.includeUncertainty(job.get("include_uncertainty").getAsBoolean());
        if (job.get("on_progress").getAsBoolean()) {
            options.onProgress(found -> progress.add(event(found)));
        }
        return options.build();
    }

    private static Input input(JsonObject spec, List<InputStream> opened) throws IOException {
        String key = spec.get("key").getAsString();
        if (spec.get("kind").getAsString().equals("text")) {
            Optional<String> truncate = optional(spec, "truncate").map(JsonElement::getAsString);
            return Text.of(spec.get("value").getAsString())
                    .withKey(key)
                    .withTruncate(truncate.map(value -> Truncate.valueOf("TRUNCATE_" + value.toUpperCase(Locale.ROOT)))
                            .orElse(Truncate.TRUNCATE_UNSPECIFIED));
        }
        Source source = source(spec, opened)
                .withFileName(spec.get("file_name").getAsString())
                .withMediaType(spec.get("media_type").getAsString());
        if (spec.get("kind").getAsString().equals("image")) {
            return Image.of(source).withKey(key);
        }
        return audio(Audio.of(source).withKey(key), spec);
    }

    private static Audio audio(Audio plain, JsonObject spec) {
        Audio audio = plain.withEmbeddingOptions(strings(spec, "embedding_options"))
                .withEmbeddingScopes(strings(spec, "embedding_scopes"))
                .withEmbeddingTypes(strings(spec, "embedding_types"));
        Optional<JsonElement> start = optional(spec, "start_offset_sec");
        audio = start.isPresent() ? audio.withStartOffsetSec(start.get().getAsDouble()) : audio;
        Optional<JsonElement> end = optional(spec, "end_offset_sec");
        audio = end.isPresent() ? audio.withEndOffsetSec(end.get().getAsDouble()) : audio;
        Optional<JsonElement> segmentation = optional(spec, "segmentation");
        audio = segmentation.isPresent()
                ? audio.withSegmentation(segmentation(segmentation.get().getAsJsonObject()))
                : audio;
        Optional<JsonElement> mode = optional(spec, "processing_mode");
        return mode.isPresent()
                ? audio.withProcessingMode(ProcessingMode.valueOf(
                        PROCESSING_MODE + mode.get().getAsString().toUpperCase(Locale.ROOT)))
                : audio;
    }

    private static Segmentation segmentation(JsonObject spec) {
        return spec.has("fixed")
                ? Segmentation.fixed(spec.get("fixed").getAsInt())
                : Segmentation.dynamic(spec.get("dynamic").getAsInt());
    }

    private static List<String> strings(JsonObject spec, String name) {
        return spec.getAsJsonArray(name).asList().stream()
                .map(JsonElement::getAsString)
                .toList();
    }

    private static Source source(JsonObject spec, List<InputStream> opened) throws IOException {
        if (spec.has("url")) {
            return Source.url(spec.get("url").getAsString());
        }
        if (spec.has("asset_id")) {
            return Source.asset(spec.get("asset_id").getAsString());
        }
        if (spec.has("task_id")) {
            return Source.task(spec.get("task_id").getAsString());
        }
        if (spec.has("path")) {
            return Source.path(Path.of(spec.get("path").getAsString()));
        }
        if (spec.has("data")) {
            return Source.data(Base64.getDecoder().decode(spec.get("data").getAsString()));
        }
        opened.add(Files.newInputStream(Path.of(spec.get("stream").getAsString())));
        return Source.stream(opened.get(opened.size() - 1));
    }

    private static JsonObject event(Event event) {
        var found = new JsonObject();
        var about = new JsonObject();
        about.addProperty("input_index", event.inputIndex());
        about.addProperty("input_key", event.inputKey());
        if (event instanceof Segment segment) {
            about.addProperty("segment_index", segment.segmentIndex());
            about.addProperty("modality", segment.modality().name().toLowerCase(Locale.ROOT));
            about.addProperty("start_offset_sec", number(segment.startOffsetSec()));
            about.addProperty("end_offset_sec", number(segment.endOffsetSec()));
            about.addProperty("embedding_option", segment.embeddingOption());
            about.addProperty("embedding_scope", segment.embeddingScope());
            about.addProperty("vector", vector(segment.vector()));
            about.addProperty(
                    "uncertainty", segment.uncertainty().map(Runner::vector).orElse(null));
            found.add("segment", about);
        } else if (event instanceof Result result) {
            about.addProperty("model_name", result.modelName());
            about.addProperty("dimensions", result.dimensions());
            about.addProperty("segment_count", result.segmentCount());
            about.addProperty("input_url", result.inputUrl().orElse(null));
            about.addProperty("input_filename", result.inputFilename().orElse(null));
            about.addProperty("truncated", result.truncated().orElse(null));
            about.addProperty("media_duration_sec", number(result.mediaDurationSec()));
            about.addProperty("attempts", result.attempts());
            about.addProperty("upstream", result.upstream());
            about.add("input_tokens", object(result.inputTokens()));
            about.addProperty("upstream_task_id", result.upstreamTaskId());
            about.addProperty(
                    "cache_status",
                    result.cacheStatus()
                            .map(status -> status.name().toLowerCase(Locale.ROOT))
                            .orElse(null));
            about.add("failure", result.failure().map(Runner::failure).orElse(null));
            found.add("result", about);
        } else if (event instanceof Progress progress) {
            about.addProperty("stage", progress.stage().name().toLowerCase(Locale.ROOT));
            about.addProperty("upstream_task_id", progress.upstreamTaskId());
            found.add("progress", about);
        }
        return found;
    }

    private static String vector(float[] values) {
        ByteBuffer packed = ByteBuffer.allocate(values.length * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        packed.asFloatBuffer().put(values);
        return Base64.getEncoder().encodeToString(packed.array());
    }

    private static JsonObject failure(Failure failure) {
        var found = new JsonObject();
        found.addProperty("code", failure.code());
        found.addProperty("reason", failure.reason());
        found.addProperty("message", failure.message());
        found.add(
                "violations",
                array(failure.violations(), each -> pair("field", each.getField(), each.getDescription())));
        found.addProperty(
                "retry_delay",
                failure.retryDelay().map(delay -> delay.toNanos() / 1e9).orElse(null));
        found.add("quotas", array(failure.quotas(), each -> pair("subject", each.getSubject(), each.getDescription())));
        found.add("upstream", failure.upstream().map(Runner::upstream).orElse(null));
        found.addProperty("cause", failure.cause());
        found.addProperty("upstream_task_id", failure.upstreamTaskId());
        return found;
    }

    private static JsonObject pair(String name, String value, String description) {
        var found = new JsonObject();
        found.addProperty(name, value);
        found.addProperty("description", description);
        return found;
    }

    private static JsonObject upstream(UpstreamError said) {
        var found = new JsonObject();
        found.addProperty("http_status", said.getHttpStatus());
        found.addProperty("code", said.getCode());
        found.addProperty("message", said.getMessage());
        found.addProperty("docs_url", said.getDocsUrl());
        found.add("rate_limit_headers", object(said.getRateLimitHeadersMap()));
        found.addProperty("trace_id", said.getTraceId());
        return found;
    }

    private static JsonObject object(Map<String, ?> values) {
        var found = new JsonObject();
        values.forEach((name, value) -> found.add(
                name, value instanceof Number number ? new JsonPrimitive(number) : new JsonPrimitive((String) value)));
        return found;
    }

    /** What was thrown: the server's, or the client's own refusal. */
    private static JsonObject error(Exception error) {
        if (error instanceof EmbedwireException failed) {
            JsonObject found = failure(failed.failure());
            found.addProperty("kind", failed.getClass().getSimpleName().replace("Exception", "Error"));
            found.addProperty("attempts", failed.attempts());
            found.addProperty("request_id", failed.requestId());
            return found;
        }
        var found = new JsonObject();
        found.addProperty("kind", kind(error));
        found.addProperty("message", String.valueOf(error.getMessage()));
        return found;
    }

    private static String kind(Exception error) {
        if (error instanceof IOException || error instanceof UncheckedIOException) {
            return "File";
        }
        return error instanceof IllegalArgumentException
                ? "Argument"
                : error.getClass().getSimpleName();
    }

    private static JsonObject model(Model model) {
        var found = new JsonObject();
        found.addProperty("name", model.getName());
        found.add("aliases", strings(model.getAliasesList()));
        found.addProperty("dimensions", model.getDimensions());
        found.add("text", model.hasText() ? text(model.getText()) : null);
        found.add("image", model.hasImage() ? image(model.getImage()) : null);
        found.add("audio", model.hasAudio() ? audio(model.getAudio()) : null);
        found.add("supported_dimensions", array(model.getSupportedDimensionsList(), JsonPrimitive::new));
        found.addProperty("supports_uncertainty", model.getSupportsUncertainty());
        found.add("upstreams", strings(model.getUpstreamsList()));
        return found;
    }

    private static JsonObject text(TextSupport text) {
        var found = new JsonObject();
        found.addProperty("max_tokens", text.getMaxTokens());
        found.add(
                "truncates",
                strings(text.getTruncatesList().stream()
                        .filter(each -> each != Truncate.UNRECOGNIZED && each != Truncate.TRUNCATE_UNSPECIFIED)
                        .map(each -> each.name().substring("TRUNCATE_".length()).toLowerCase(Locale.ROOT))
                        .toList()));
        found.addProperty("max_bytes", text.getMaxBytes());
        return found;
    }

    private static JsonObject image(ImageSupport image) {
        var found = new JsonObject();
        found.add("media_types", strings(image.getMediaTypesList()));
        found.addProperty("max_bytes", image.getMaxBytes());
        found.addProperty("min_side_px", image.getMinSidePx());
        return found;
    }

    private static JsonObject audio(AudioSupport audio) {
        var found = new JsonObject();
        found.add("media_types", strings(audio.getMediaTypesList()));
        found.addProperty("max_bytes", audio.getMaxBytes());
        found.addProperty("max_sync_duration_sec", audio.getMaxSyncDurationSec());
        found.addProperty("max_duration_sec", audio.getMaxDurationSec());
        found.add("embedding_options", strings(audio.getEmbeddingOptionsList()));
        found.add("embedding_scopes", strings(audio.getEmbeddingScopesList()));
        found.add("embedding_types", strings(audio.getEmbeddingTypesList()));
        found.add("fixed_segmentation", audio.hasFixedSegmentation() ? range(audio.getFixedSegmentation()) : null);
        found.add(
                "dynamic_segmentation", audio.hasDynamicSegmentation() ? range(audio.getDynamicSegmentation()) : null);
        found.add(
                "processing_modes",
                strings(audio.getProcessingModesList().stream()
                        .map(each ->
                                each.name().substring(PROCESSING_MODE.length()).toLowerCase(Locale.ROOT))
                        .toList()));
        return found;
    }

    private static JsonObject range(SegmentationRange range) {
        var found = new JsonObject();
        found.addProperty("min_sec", range.getMinSec());
        found.addProperty("max_sec", range.getMaxSec());
        return found;
    }

    private static JsonArray strings(Iterable<String> values) {
        var found = new JsonArray();
        values.forEach(found::add);
        return found;
    }

    private static <T> JsonArray array(List<T> values, Function<T, JsonElement> convert) {
        var found = new JsonArray();
        values.forEach(each -> found.add(convert.apply(each)));
        return found;
    }

    private static Double number(OptionalDouble value) {
        return value.isPresent() ? Double.valueOf(value.getAsDouble()) : null;
    }

    private static Duration duration(double seconds) {
        return Duration.ofNanos(Math.round(seconds * 1e9));
    }

    private static Optional<JsonElement> optional(JsonObject object, String name) {
        return Optional.ofNullable(object.get(name)).filter(value -> !value.isJsonNull());
    }
}
