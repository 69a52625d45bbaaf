package dev.embedwire;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;

/** Builds the errors of unreadable files: with the cause, without path and content. */
final class Unreadable {
    private Unreadable() {}

    /** Returns the path of the file's field in a request. */
    static String field(int index, Input input) {
        return "inputs[" + index + "]." + input.kind() + ".source";
    }

    /** Returns the exception for a file whose reading threw {@code error}, usually an {@link IOException}. */
    static UncheckedIOException exception(int index, Input input, Throwable error) {
        IOException cause = error instanceof IOException found ? found : new IOException(error);
        return new UncheckedIOException(field(index, input) + ": " + description(error), cause);
    }

    static String description(Throwable error) {
        return "cannot be read: " + reason(error);
    }

    private static String reason(Throwable error) {
        boolean isWrapper = error instanceof UncheckedIOException || error.getClass() == IOException.class;
        if (isWrapper && error.getCause() != null) {
            return reason(error.getCause());
        }
        if (error instanceof NoSuchFileException) { // its message is the path
            return "no such file or directory";
        }
        if (error instanceof AccessDeniedException) {
            return "permission denied";
        }
        if (error instanceof FileSystemException found && found.getReason() != null) {
            return found.getReason();
        }
        return "input/output error (" + error.getClass().getSimpleName() + ")";
    }
}
