package dev.embedwire;

import static java.util.Objects.requireNonNull;

import dev.embedwire.v1.AssetSource;
import dev.embedwire.v1.MediaSource;
import dev.embedwire.v1.TaskSource;
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
 * The source of a file. The kind is explicit, never guessed from a string.
 *
 * <p>Files of together at most 1 MiB are sent in the request. All other files, and all streams, are uploaded in chunks,
 * with at most one chunk in memory.
 */
public final class Source {
    private final String kind;
    private final Optional<MediaSource> remote; // of a file that this client does not send
    private final Access<OptionalLong> measure;
    private final Access<InputStream> opener;
    private final String fileName;
    private final String mediaType;
    private final AtomicBoolean isOpened; // shared by all copies

    private Source(
            String kind,
            Optional<MediaSource> remote,
            Access<OptionalLong> measure,
            Access<InputStream> opener,
            String fileName,
            String mediaType,
            AtomicBoolean isOpened) {
        this.kind = kind;
        this.remote = remote;
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
     * Returns the source of a file at an absolute http or https URL of the raw file. The upstream fetches it; the
     * client and the server do not.
     */
    public static Source url(String url) {
        return remote("url", MediaSource.newBuilder().setUrl(url));
    }

    /**
     * Returns the source of a file that the upstream already has. It must belong to the account of the API key. The
     * server does not delete it.
     *
     * @param id identifier of the asset at the upstream, 1 to 128 letters, digits, "-" and "_"
     */
    public static Source asset(String id) {
        return remote(
                "asset",
                MediaSource.newBuilder().setAsset(AssetSource.newBuilder().setId(id)));
    }

    /**
     * Returns the source that is an earlier task of the upstream, for {@link Audio} only. The input waits for the task
     * and returns its result, which is kept for seven days; nothing is billed again. The model and the dimensions must
     * be those of the task, and all other options of the input except its key must be left out.
     *
     * @param id identifier of the task, for instance {@link EmbedwireException#upstreamTaskId} of a call whose deadline
     *     passed
     */
    public static Source task(String id) {
        return remote(
                "task", MediaSource.newBuilder().setTask(TaskSource.newBuilder().setId(id)));
    }

    private static Source remote(String kind, MediaSource.Builder remote) {
        return new Source(
                kind,
                Optional.of(remote.build()),
                () -> OptionalLong.of(0),
                InputStream::nullInputStream,
                "",
                "",
                new AtomicBoolean());
    }

    /**
     * Returns the source of a local file. It is opened when it is sent, and has the file name of the path. A pipe can
     * be sent only once; a thread of the client waits for its writer, also after the call has ended.
     */
    public static Source path(Path path) {
        Path name = path.getFileName();
        return of("path", () -> sizeOf(path), () -> Files.newInputStream(path), name == null ? "" : name.toString());
    }

    /** Returns a source with these bytes. They are not copied; do not change them before the call has ended. */
    public static Source data(byte[] data) {
        OptionalLong size = OptionalLong.of(data.length);
        return of("data", () -> size, () -> new ByteArrayInputStream(data), "");
    }

    /**
     * Returns the source of a stream. A thread of the client reads it to its end while the call runs, and does not
     * close it. A stream can be sent only once.
     */
    public static Source stream(InputStream stream) {
        requireNonNull(stream, "stream");
        return of("stream", OptionalLong::empty, () -> unclosed(stream), "");
    }

    /**
     * Returns this source with a file name, which is returned as metadata: at most 255 bytes of UTF-8, without control
     * characters. If it is empty, the name of the path is used.
     */
    public Source withFileName(String fileName) {
        String chosen = fileName.isEmpty() ? this.fileName : fileName;
        return new Source(kind, remote, measure, opener, chosen, mediaType, isOpened);
    }

    /**
     * Returns this source with a media type, for instance "audio/mpeg". If it is empty, the type is derived from the
     * file name.
     */
    public Source withMediaType(String mediaType) {
        return new Source(kind, remote, measure, opener, fileName, mediaType, isOpened);
    }

    /** {@return the kind, without name and content, which belong to the caller} */
    @Override
    public String toString() {
        return kind;
    }

    /** Returns the message of a source whose bytes this client does not send; empty for all others. */
    Optional<MediaSource> remote() {
        return remote;
    }

    String fileName() {
        return fileName;
    }

    String mediaType() {
        String guessed = URLConnection.guessContentTypeFromName(fileName);
        return !mediaType.isEmpty() || guessed == null ? mediaType : guessed;
    }

    /** Returns the number of bytes; empty if unknown before they are read. The source can then be read only once. */
    OptionalLong size() throws IOException {
        return measure.get();
    }

    /** Returns whether it was opened, so that bytes may have been read. */
    boolean isOpened() {
        return isOpened.get();
    }

    /** Marks the source as opened. The caller of `open` calls this, under its own lock if necessary. */
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

    /** Wraps a stream so that close() has no effect, since the caller closes it. */
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
