package dev.embedwire;

/** One thing to embed. */
public sealed interface Input permits Text, Image, Audio {
    /**
     * A string of the caller's choice that comes back with every event of this input.
     *
     * @return at most 256 bytes of UTF-8; empty unless chosen
     */
    String key();
}
