package dev.embedwire;

/**
 * An event of a call: a {@link Segment}, the {@link Result} of an input, or its {@link Progress}. Later versions may
 * add others.
 */
public abstract class Event {
    Event() {}

    /** {@return the position of its input in the request, from 0} */
    public abstract int inputIndex();

    /** {@return the key of its input} */
    public abstract String inputKey();
}
