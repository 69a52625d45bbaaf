/** Lets one loop wait until something has changed. */
export class Gate {
  #open: (() => void) | undefined;

  /** Wait for the next {@link Gate.open}. */
  wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  /** Resume the waiting loop. */
  open(): void {
    this.#open?.();
    this.#open = undefined;
  }
}
