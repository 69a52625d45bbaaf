/** What ends a call from outside: its caller, or the end of its client. */

import { ClosedError } from "./errors.js";

/** The time in which a client may be used. */
export class Lifetime {
  readonly #stoppers = new Set<AbortController>();
  #isOver = false;

  /**
   * @throws ClosedError - the client is closed.
   */
  check(): void {
    if (this.#isOver) throw new ClosedError();
  }

  /** Abort the stopper of a call when the client is closed or the caller's signal is aborted; returns what ends that. */
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

  /** Close the client: its calls end with a {@link ClosedError}. */
  end(): void {
    this.#isOver = true;
    for (const stopper of this.#stoppers) stopper.abort(new ClosedError());
  }
}

/** Do something when the signal is aborted, or now if it is; returns what takes that back. */
export function onAbort(signal: AbortSignal | undefined, act: () => void): () => void {
  if (signal?.aborted) act();
  signal?.addEventListener("abort", act, { once: true });
  return () => signal?.removeEventListener("abort", act);
}
