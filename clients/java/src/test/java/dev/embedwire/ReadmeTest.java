package dev.embedwire;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

class ReadmeTest {
    /** The examples of the README are those that can be run. */
    @Test
    void examples() throws IOException {
        String readme = Files.readString(Path.of("README.md"));
        for (String name : new String[] {"Embed.java", "Events.java"}) {
            String example = Files.readString(Path.of("examples", name));
            assertTrue(readme.contains(example), name);
        }
    }
}
