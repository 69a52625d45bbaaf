package dev.embedwire;

/** The methods of the client that make calls of embeddings, and how these differ. */
enum CallKind {
    /** Events, for a thread that waits for them. */
    STREAM(false, true, true),
    /** Events, for a subscriber. */
    PUBLISH(false, false, true),
    /** Embeddings, for a thread that waits for them. */
    EMBED(true, true, true),
    /** Embeddings, for a future. */
    EMBED_ASYNC(true, false, true),
    /** A call of `map`, which repeats rejected calls itself. */
    MAP(true, true, false);

    /** Whether the events are collected, so that a call of one text may be unary. */
    final boolean isCollected;

    /** Whether our own code takes the events. It does not block, so it runs in gRPC's network threads. */
    final boolean isDirect;

    /** Whether a rejected call is made once more. */
    final boolean isRepeated;

    CallKind(boolean isCollected, boolean isDirect, boolean isRepeated) {
        this.isCollected = isCollected;
        this.isDirect = isDirect;
        this.isRepeated = isRepeated;
    }
}
