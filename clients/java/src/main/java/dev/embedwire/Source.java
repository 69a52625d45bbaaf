package dev.embedwire;

import static java.util.Objects.requireNonNull;

import java.io.ByteArrayInputStream;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.URLConnection;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * Where the bytes of a file are. It is named and never guessed from a string.
 *
 * <p>Files of together at most 1 MiB travel in the request; every other one, and any stream, is uploaded in chunks, and
 * then no more than a chunk of it is in memory.
 */
public final class Source {
    private final String kind;
    private final Optional<String> url;
    private final Measure measure;
    private final Opener opener;
    private final String fileName;
    private final String mediaType;

    private Source(
            String kind, Optional<String> url, Measure measure, Opener opener, String fileName, String mediaType) {
        this.kind = kind;
        this.url = url;
        this.measure = measure;
        this.opener = opener;
        this.fileName = requireNonNull(fileName, "fileName");
        this.mediaType = requireNonNull(mediaType, "mediaType");
    }

    /**
     * A file that the upstream fetches; neither this client nor the server does.
     *
     * @param url an absolute http or https URL that leads straight to the raw file
     * @return the source
     */
    public static Source url(String url) {
        return new Source("url", Optional.of(url), OptionalLong::empty, InputStream::nullInputStream, "", "");
    }

    /**
     * A local file. It is opened when its turn comes to be sent, and named as the path is.
     *
     * @param path where the file is
     * @return the source
     */
    public static Source path(Path path) {
        Path name = path.getFileName();
        return new Source(
                "path",
                Optional.empty(),
                () -> sizeOf(path),
                () -> Files.newInputStream(path),
                name == null ? "" : name.toString(),
                "");
    }

    /**
     * The bytes themselves.
     *
     * @param data the bytes; they are not copied, so they must not change before the call is over
     * @return the source
     */
    public static Source data(byte[] data) {
        OptionalLong size = OptionalLong.of(data.length);
        return new Source("data", Optional.empty(), () -> size, () -> new ByteArrayInputStream(data), "", "");
    }

    /**
     * A stream, which is read to its end by a thread of the client while the call runs. It is not closed, and can be
     * sent once.
     *
     * @param stream gives the bytes
     * @return the source
     */
    public static Source stream(InputStream stream) {
        requireNonNull(stream, "stream");
        return new Source("stream", Optional.empty(), OptionalLong::empty, () -> new Borrowed(stream), "", "");
    }

    /**
     * The same with a name, which comes back as metadata.
     *
     * @param fileName at most 255 bytes of UTF-8 without control characters; empty is the default, that of the path
     * @return the source
     */
    public Source withFileName(String fileName) {
        return new Source(kind, url, measure, opener, fileName.isEmpty() ? this.fileName : fileName, mediaType);
    }

    /**
     * The same with a media type.
     *
     * @param mediaType for instance "audio/mpeg"; empty is the default, what the name suggests
     * @return the source
     */
    public Source withMediaType(String mediaType) {
        return new Source(kind, url, measure, opener, fileName, mediaType);
    }

    /** Only the kind: names and content are the caller's own. */
    @Override
    public String toString() {
        return kind;
    }

    Optional<String> url() {
        return url;
    }

    String fileName() {
        return fileName;
    }

    String mediaType() {
        String guessed = URLConnection.guessContentTypeFromName(fileName);
        return !mediaType.isEmpty() || guessed == null ? mediaType : guessed;
    }

    /** How many bytes there are; empty if that cannot be known before they are read. */
    OptionalLong size() throws IOException {
        return measure.size();
    }

    InputStream open() throws IOException {
        return opener.open();
    }

    private static OptionalLong sizeOf(Path path) throws IOException {
        long size = Files.size(path);
        if (Files.isDirectory(path)) {
            throw new FileSystemException(path.toString(), null, "is a directory");
        }
        return Files.isRegularFile(path) ? OptionalLong.of(size) : OptionalLong.empty(); // a pipe has no size
    }

    private interface Measure {
        OptionalLong size() throws IOException;
    }

    private interface Opener {
        InputStream open() throws IOException;
    }

    /** Leaves the caller's stream open. */
    private static final class Borrowed extends FilterInputStream {
        Borrowed(InputStream stream) {
            super(stream);
        }

        @Override
        public void close() {
            // it is not ours
        }
    }
}
