/** Cancellation of calls by the caller's signal or by closing the client. */

import { ClosedError } from "./errors.js";

/** The lifetime of a client. */
export class Lifetime {
  readonly #stoppers = new Set<AbortController>();
  #isOver = false;

  /**
   * Check that the client is open.
   *
   * @throws ClosedError - the client is closed.
   */
  check(): void {
    if (this.#isOver) throw new ClosedError();
  }

  /** Abort `stopper` when the client is closed or the caller's signal is aborted. Returns a function that ends this. */
  follow(stopper: AbortController, signal: AbortSignal | undefined): () => void {
    if (this.#isOver) stopper.abort(new ClosedError());
    this.#stoppers.add(stopper);
    const release = onAbort(signal, () => {
      stopper.abort(signal?.reason);
    });
    return () => {
      release();
      this.#stoppers.delete(stopper);
    };
  }

  /** Close the client: its calls fail with {@link ClosedError}. */
  end(): void {
    this.#isOver = true;
    for (const stopper of this.#stoppers) stopper.abort(new ClosedError());
  }
}

/** Call `act` when the signal is aborted, or now if it already is. Returns a function that removes the listener. */
export function onAbort(signal: AbortSignal | undefined, act: () => void): () => void {
  if (signal?.aborted) act();
  signal?.addEventListener("abort", act, { once: true });
  return () => signal?.removeEventListener("abort", act);
}
