/** The async iterator that calls return. */

/** Yields the values, until the signal is aborted. */
type Source<T> = (signal: AbortSignal) => AsyncGenerator<T, void, undefined>;

/** Aborts the stopper on external events. Returns a function that ends this. */
type Follow = (stopper: AbortController) => () => void;

const LEFT = new Error("the loop was left");

/**
 * The values of a call or of a run of {@link Client.map}, for `for await`.
 *
 * Nothing is sent before the first value is requested. Leaving the loop cancels the call or the run.
 */
export class Stream<T> implements AsyncIterableIterator<T>, AsyncDisposable {
  readonly #stopper = new AbortController();
  readonly #values: AsyncGenerator<T, void, undefined>;

  /** @internal */
  constructor(source: Source<T>, follow: Follow) {
    this.#values = run(source, follow, this.#stopper);
  }

  /**
   * Return the next value.
   *
   * @throws EmbedwireError - the call or the run failed.
   * @throws ClosedError - the client is closed.
   */
  next(): Promise<IteratorResult<T, void>> {
    return this.#values.next();
  }

  /** Cancel the call or the run, also while `next` is pending. `for await` calls it when the loop is left. */
  return(): Promise<IteratorResult<T, void>> {
    this.#stopper.abort(LEFT);
    return this.#values.return();
  }

  /** Return this object. */
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
