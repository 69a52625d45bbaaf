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
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Where the bytes of a file are. The kind is always named, and never guessed from a string.
 *
 * <p>Files of together at most 1 MiB are sent in the request. Larger files, and all streams, are uploaded in chunks,
 * and at most one chunk of them is in memory.
 */
public final class Source {
    private final String kind;
    private final Optional<String> url;
    private final Access<OptionalLong> measure;
    private final Access<InputStream> opener;
    private final String fileName;
    private final String mediaType;
    private final AtomicBoolean isOpened; // shared by all copies

    private Source(
            String kind,
            Optional<String> url,
            Access<OptionalLong> measure,
            Access<InputStream> opener,
            String fileName,
            String mediaType,
            AtomicBoolean isOpened) {
        this.kind = kind;
        this.url = url;
        this.measure = measure;
        this.opener = opener;
        this.fileName = requireNonNull(fileName, "fileName");
        this.mediaType = requireNonNull(mediaType, "mediaType");
        this.isOpened = isOpened;
    }

    private static Source of(String kind, Access<OptionalLong> measure, Access<InputStream> opener, String fileName) {
        return new Source(kind, Optional.empty(), measure, opener, fileName, "", new AtomicBoolean());
    }

    /**
     * An absolute http or https URL that leads straight to the raw file. The upstream fetches it; neither this client
     * nor the server does.
     */
    public static Source url(String url) {
        Optional<String> found = Optional.of(url);
        return new Source(
                "url", found, () -> OptionalLong.of(0), InputStream::nullInputStream, "", "", new AtomicBoolean());
    }

    /**
     * A local file. It is opened when it is sent, and its name is that of the path. A pipe can be sent only once; a
     * thread of the client waits for its writer, also after the call has ended.
     */
    public static Source path(Path path) {
        Path name = path.getFileName();
        return of("path", () -> sizeOf(path), () -> Files.newInputStream(path), name == null ? "" : name.toString());
    }

    /** The bytes themselves. They are not copied, so do not change them before the call has ended. */
    public static Source data(byte[] data) {
        OptionalLong size = OptionalLong.of(data.length);
        return of("data", () -> size, () -> new ByteArrayInputStream(data), "");
    }

    /**
     * A stream. A thread of the client reads it to its end while the call runs, and does not close it. It can be sent
     * only once.
     */
    public static Source stream(InputStream stream) {
        requireNonNull(stream, "stream");
        return of("stream", OptionalLong::empty, () -> unclosed(stream), "");
    }

    /**
     * The same source with a name of at most 255 bytes of UTF-8 without control characters, which comes back as
     * metadata; if it is empty, with the name of the path.
     */
    public Source withFileName(String fileName) {
        String chosen = fileName.isEmpty() ? this.fileName : fileName;
        return new Source(kind, url, measure, opener, chosen, mediaType, isOpened);
    }

    /**
     * The same source with a media type, for instance "audio/mpeg"; if it is empty, with the type that the name
     * suggests.
     */
    public Source withMediaType(String mediaType) {
        return new Source(kind, url, measure, opener, fileName, mediaType, isOpened);
    }

    /** {@return only the kind: names and content are the caller's own} */
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

    /** The number of bytes that are sent; empty if it is not known before they are read. Then they can be read once. */
    OptionalLong size() throws IOException {
        return measure.get();
    }

    /** Whether it was opened, so that bytes may have been read. */
    boolean isOpened() {
        return isOpened.get();
    }

    /** Marks it as opened; by the caller of `open`, which may have to do that under its own lock. */
    void markOpened() {
        isOpened.set(true);
    }

    InputStream open() throws IOException {
        return opener.get();
    }

    private static OptionalLong sizeOf(Path path) throws IOException {
        long size = Files.size(path);
        if (Files.isDirectory(path)) {
            throw new FileSystemException(path.toString(), null, "is a directory");
        }
        return Files.isRegularFile(path) ? OptionalLong.of(size) : OptionalLong.empty(); // a pipe has no size
    }

    /** The caller closes it. */
    private static InputStream unclosed(InputStream stream) {
        return new FilterInputStream(stream) {
            @Override
            public void close() {}
        };
    }

    private interface Access<T> {
        T get() throws IOException;
    }
}
