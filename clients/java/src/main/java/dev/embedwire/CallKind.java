package dev.embedwire;

/** The methods of the client that make calls of embeddings, and how these differ. */
enum CallKind {
    STREAM(false, true, true),
    PUBLISH(false, false, true),
    EMBED(true, true, true),
    EMBED_ASYNC(true, false, true),
    MAP(true, true, false); // repeats rejected calls itself

    /** Whether the events are collected, so that a call of one text may be unary. */
    final boolean isCollected;

    /** Whether only our own code takes the events. It does not block, so it may run in gRPC's network threads. */
    final boolean isDirect;

    /** Whether a rejected call is retried. */
    final boolean isRepeated;

    CallKind(boolean isCollected, boolean isDirect, boolean isRepeated) {
        this.isCollected = isCollected;
        this.isDirect = isDirect;
        this.isRepeated = isRepeated;
    }
}
