package dev.embedwire;

import dev.embedwire.v1.DynamicSegmentation;
import dev.embedwire.v1.FixedSegmentation;

/** The division of audio into segments. */
public final class Segmentation {
    private final dev.embedwire.v1.Segmentation message;

    private Segmentation(dev.embedwire.v1.Segmentation.Builder message) {
        this.message = message.build();
    }

    /**
     * Returns the division into windows of equal duration.
     *
     * @param durationSec duration of a window in seconds, 1 or more, in the range {@code fixed_segmentation} of a model
     * @throws IllegalArgumentException the duration is less than 1
     */
    public static Segmentation fixed(int durationSec) {
        Checks.range("durationSec", durationSec, 1, Integer.MAX_VALUE);
        var fixed = FixedSegmentation.newBuilder().setDurationSec(durationSec);
        return new Segmentation(dev.embedwire.v1.Segmentation.newBuilder().setFixed(fixed));
    }

    /**
     * Returns the division where the content changes.
     *
     * @param minDurationSec minimum duration of a window in seconds, 1 or more, in the range
     *     {@code dynamic_segmentation} of a model
     * @throws IllegalArgumentException the duration is less than 1
     */
    public static Segmentation dynamic(int minDurationSec) {
        Checks.range("minDurationSec", minDurationSec, 1, Integer.MAX_VALUE);
        var dynamic = DynamicSegmentation.newBuilder().setMinDurationSec(minDurationSec);
        return new Segmentation(dev.embedwire.v1.Segmentation.newBuilder().setDynamic(dynamic));
    }

    dev.embedwire.v1.Segmentation toProto() {
        return message;
    }
}
