package dev.embedwire;

import static java.util.Objects.requireNonNull;

import java.time.Duration;
import java.util.Optional;

/** The options of a run of {@link EmbedwireClient#map}. Each is optional. */
public final class MapOptions {
    /** All options at their defaults. */
    public static final MapOptions DEFAULT = builder().build();

    final Options call;
    final int inputsPerCall;
    final int concurrentCalls;
    final Optional<Duration> runTimeout;
    final boolean countWaits;

    private MapOptions(Builder chosen) {
        call = chosen.call;
        inputsPerCall = chosen.inputsPerCall;
        concurrentCalls = chosen.concurrentCalls;
        runTimeout = chosen.runTimeout;
        countWaits = chosen.countWaits;
    }

    /** {@return a builder with all options at their defaults} */
    public static Builder builder() {
        return new Builder();
    }

    /** A builder of options. */
    public static final class Builder {
        private Options call = Options.DEFAULT;
        private int inputsPerCall = 16;
        private int concurrentCalls = 8;
        private Optional<Duration> runTimeout = Optional.empty();
        private boolean countWaits;

        private Builder() {}

        /**
         * Sets the options of each call, for instance its timeout. A request id is not allowed, since each call has its
         * own.
         */
        public Builder call(Options call) {
            this.call = requireNonNull(call, "call");
            return this;
        }

        /** Sets the maximum number of inputs of a call, 1 to 256; 16 by default. */
        public Builder inputsPerCall(int inputsPerCall) {
            this.inputsPerCall = inputsPerCall;
            return this;
        }

        /** Sets the maximum number of concurrent calls, 1 to 1000; 8 by default. */
        public Builder concurrentCalls(int concurrentCalls) {
            this.concurrentCalls = concurrentCalls;
            return this;
        }

        /** Sets the timeout of the whole run, not counting pauses after rejections; none by default. */
        public Builder runTimeout(Duration runTimeout) {
            this.runTimeout = Optional.of(runTimeout);
            return this;
        }

        /**
         * Counts the waits after rejections against both deadlines: that of the run, and that of each input, which
         * starts with its first call; false by default. An input whose wait would exceed its deadline then fails.
         */
        public Builder countWaits(boolean countWaits) {
            this.countWaits = countWaits;
            return this;
        }

        /**
         * Returns the options.
         *
         * @throws IllegalArgumentException an option is invalid
         */
        public MapOptions build() {
            Checks.range("inputsPerCall", inputsPerCall, 1, 256);
            Checks.range("concurrentCalls", concurrentCalls, 1, 1000);
            Checks.timeout("runTimeout", runTimeout);
            if (call.requestId.isPresent()) {
                throw new IllegalArgumentException("call: must have no requestId, because each call has its own");
            }
            return new MapOptions(this);
        }
    }
}
