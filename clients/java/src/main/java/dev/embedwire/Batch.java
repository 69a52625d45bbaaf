package dev.embedwire;

import java.util.List;

/**
 * The inputs of one call of a run.
 *
 * @param deadline when they end unanswered, in nanoseconds of the run; {@link MapRun#NEVER} if waits do not count
 */
record Batch(List<MapInput> inputs, long deadline) {}
