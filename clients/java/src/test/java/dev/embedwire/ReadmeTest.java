package dev.embedwire;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The README: its examples run as they are printed, and its versions are those of the build. */
class ReadmeTest {
    private static final Path SAMPLES = Path.of("../python/examples/samples");
    private static final Pattern EXAMPLE = Pattern.compile("```java\n(.*?class (\\w+) \\{.*?)```", Pattern.DOTALL);

    @TempDir
    Path folder;

    private static String readme() throws IOException {
        return Files.readString(Path.of("README.md"));
    }

    static List<String> examples() throws IOException {
        return EXAMPLE.matcher(readme()).results().map(found -> found.group(2)).toList();
    }

    /** An example runs in an empty folder without OpenTelemetry, and is also a file that can be run. */
    @ParameterizedTest
    @MethodSource("examples")
    void example(String name) throws Exception {
        String source = EXAMPLE.matcher(readme())
                .results()
                .filter(found -> found.group(2).equals(name))
                .map((MatchResult found) -> found.group(1))
                .findFirst()
                .orElseThrow();
        assertEquals(source, Files.readString(Path.of("examples", name + ".java")));
        Files.writeString(folder.resolve(name + ".java"), source);
        for (String sample : List.of("picture.png", "melody.flac")) {
            Files.copy(SAMPLES.resolve(sample), folder.resolve(sample));
        }
        try (var server = FakeServer.embedding()) {
            assertEquals(0, run(name + ".java", "127.0.0.1:" + server.port()), () -> output());
            assertTrue(server.calls.size() > 0);
        }
    }

    /** All examples are tested, and all versions agree. */
    @Test
    void versions() throws IOException {
        try (Stream<Path> files = Files.list(Path.of("examples"))) {
            assertEquals(
                    files.map(file -> file.getFileName().toString()).sorted().toList(),
                    examples().stream().map(name -> name + ".java").sorted().toList());
        }
        String readme = readme();
        assertTrue(readme.contains("<version>" + System.getProperty("project.version") + "</version>"));
        assertTrue(readme.contains("gRPC " + System.getProperty("grpc.version") + " "));
        assertTrue(readme.contains("protobuf-java " + System.getProperty("protobuf.version") + ","));
        assertTrue(readme.contains("tested with " + System.getProperty("opentelemetry.version") + ")"));
        assertTrue(readme.contains("Java " + System.getProperty("java.release") + " and later"));
    }

    private int run(String file, String target) throws Exception {
        String classPath = Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
                .filter(each -> !each.contains("opentelemetry"))
                .map(each -> Path.of(each).toAbsolutePath().toString())
                .collect(Collectors.joining(File.pathSeparator));
        return new ProcessBuilder(System.getProperty("java.home") + "/bin/java", "-cp", classPath, file, target)
                .directory(folder.toFile())
                .redirectErrorStream(true)
                .redirectOutput(folder.resolve("output").toFile())
                .start()
                .waitFor();
    }

    private String output() {
        try {
            return Files.readString(folder.resolve("output"), StandardCharsets.UTF_8);
        } catch (IOException error) {
            return error.toString();
        }
    }
}
