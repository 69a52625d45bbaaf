package dev.embedwire;

/** What a call tells as it arrives: a {@link Segment}, or the {@link Result} that ends an input. */
public sealed interface Event permits Segment, Result {
    /**
     * Which input it belongs to.
     *
     * @return counted from 0 in the request
     */
    int inputIndex();

    /**
     * The key of that input.
     *
     * @return as it was given
     */
    String inputKey();
}
