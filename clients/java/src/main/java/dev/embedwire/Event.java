package dev.embedwire;

/** An event of a call: a {@link Segment}, or the {@link Result} that ends an input. Later versions may add others. */
public abstract class Event {
    Event() {}

    /** {@return the input that the event belongs to, counted from 0 in the request} */
    public abstract int inputIndex();

    /** {@return the key of that input, as it was given} */
    public abstract String inputKey();
}
