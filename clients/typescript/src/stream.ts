/** Values that arrive one after the other, for `for await`. */

/** Makes the values, until the signal is aborted. */
type Source<T> = (signal: AbortSignal) => AsyncGenerator<T, void, undefined>;

/** Aborts the stopper for reasons from outside; returns what ends that. */
type Follow = (stopper: AbortController) => () => void;

const LEFT = new Error("the loop was left");

/**
 * Values of a call, or of a run of {@link Client.map}, for `for await`.
 *
 * Nothing is sent before the first value is asked for. Leaving the loop ends the call or the run.
 */
export class Stream<T> implements AsyncIterableIterator<T>, AsyncDisposable {
  readonly #stopper = new AbortController();
  readonly #values: AsyncGenerator<T, void, undefined>;

  /** @internal */
  constructor(source: Source<T>, follow: Follow) {
    this.#values = run(source, follow, this.#stopper);
  }

  /**
   * The next value.
   *
   * @throws EmbedwireError - the call or the run failed.
   * @throws ClosedError - the client is closed.
   */
  next(): Promise<IteratorResult<T, void>> {
    return this.#values.next();
  }

  /** End the call or the run, also while a value is waited for. `for await` calls it if its loop is left. */
  return(): Promise<IteratorResult<T, void>> {
    this.#stopper.abort(LEFT);
    return this.#values.return();
  }

  /** Itself. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /** For `await using`: the same as {@link Stream.return}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }
}

async function* run<T>(
  source: Source<T>,
  follow: Follow,
  stopper: AbortController,
): AsyncGenerator<T, void, undefined> {
  const release = follow(stopper);
  try {
    stopper.signal.throwIfAborted();
    yield* source(stopper.signal);
  } catch (error) {
    if (error !== LEFT) throw error;
  } finally {
    release();
  }
}
