package dev.embedwire;

import dev.embedwire.v1.InputProgress;

/**
 * A new stage of one input, before its first segment, if the upstream processes it as an asset or as a task. A stage
 * may be repeated.
 */
public final class Progress extends Event {
    private final InputProgress message;

    Progress(InputProgress message) {
        this.message = message;
    }

    /** A stage in the processing of an input. */
    public enum Stage {
        /** The file is sent to the upstream. */
        UPLOADING,
        /** The upstream prepares the file. */
        PREPARING,
        /** The upstream computes the embeddings in a task. */
        PROCESSING,
        /** A stage that this version of the client does not know. */
        UNKNOWN
    }

    /** Returns this progress with another input position. */
    Progress at(int position) {
        return new Progress(message.toBuilder().setInputIndex(position).build());
    }

    @Override
    public int inputIndex() {
        return message.getInputIndex();
    }

    @Override
    public String inputKey() {
        return message.getInputKey();
    }

    /** {@return the stage that has begun} */
    public Stage stage() {
        return switch (message.getStage()) {
            case PROGRESS_STAGE_UPLOADING -> Stage.UPLOADING;
            case PROGRESS_STAGE_PREPARING -> Stage.PREPARING;
            case PROGRESS_STAGE_PROCESSING -> Stage.PROCESSING;
            default -> Stage.UNKNOWN;
        };
    }

    /**
     * {@return the identifier of the upstream's task, from {@link Stage#PROCESSING} on, else empty; with it,
     * {@link Source#task} gets the result, also if this call ends before}
     */
    public String upstreamTaskId() {
        return message.getUpstreamTaskId();
    }

    /** {@return a description without the key, which belongs to the caller} */
    @Override
    public String toString() {
        return "Progress[input " + inputIndex() + ", " + stage() + "]";
    }
}
