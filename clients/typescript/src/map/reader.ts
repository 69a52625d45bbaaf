/** Reads the inputs of a run, no further ahead of its consumer than allowed. */

import { setImmediate } from "node:timers/promises";

import * as files from "../files.js";
import { type Input, check, fileOf } from "../inputs.js";
import { Gate } from "./gate.js";

/** The inputs of a run. */
export type Inputs = Iterable<Input> | AsyncIterable<Input>;

/** An iterator that never waits would keep results from arriving; so the event loop gets its turn after this time. */
const SLICE_MS = 10;

/** Reads the inputs one after the other. */
export class Reader {
  /** Whether no further input comes: the iterator has ended or failed, or has given something else. */
  isOver = false;

  readonly #inputs: Inputs;
  readonly #ahead: number;
  readonly #accept: (input: Input, position: number) => Promise<void>;
  readonly #gate = new Gate();
  #iterator: Iterator<Input> | AsyncIterator<Input> | undefined;
  #stopping: Promise<void> | undefined;
  #isReading = false;
  #read = 0;
  #taken = 0;

  /**
   * @param ahead - how many inputs may have been read whose embeddings have not been taken.
   * @param accept - takes each input with its position.
   */
  constructor(inputs: Inputs, ahead: number, accept: (input: Input, position: number) => Promise<void>) {
    this.#inputs = inputs;
    this.#ahead = ahead;
    this.#accept = accept;
  }

  /**
   * Read all inputs.
   *
   * @throws TypeError - the iterator gave something that is not an input; it is closed then.
   * @throws Error - of the iterator.
   */
  async run(): Promise<void> {
    try {
      const iterator = (this.#iterator = iteratorOf(this.#inputs));
      let since = performance.now();
      while (await this.#hasRoom()) {
        const next = await this.#next(iterator);
        if (next.done === true) return;
        if (this.#hasStopped()) {
          discard(next.value);
          return;
        }
        await this.#take(next.value);
        if (performance.now() - since < SLICE_MS) continue;
        await setImmediate();
        since = performance.now();
      }
    } finally {
      this.isOver = true;
    }
  }

  /** The consumer has taken an embedding. */
  took(): void {
    this.#taken += 1;
    this.#gate.open();
  }

  /** Read no more, and close the iterator. Does not wait for an iterator that is blocked. */
  stop(): Promise<void> {
    return (this.#stopping ??= this.isOver ? Promise.resolve() : this.#stop());
  }

  async #stop(): Promise<void> {
    this.#gate.open();
    const closing = this.#close();
    if (this.#isReading) closing.catch(() => undefined);
    else await closing;
  }

  async #hasRoom(): Promise<boolean> {
    while (!this.#hasStopped() && this.#read - this.#taken >= this.#ahead) await this.#gate.wait();
    return !this.#hasStopped();
  }

  #hasStopped(): boolean {
    return this.#stopping !== undefined;
  }

  async #next(iterator: Iterator<Input> | AsyncIterator<Input>): Promise<IteratorResult<Input>> {
    this.#isReading = true;
    try {
      return await iterator.next();
    } finally {
      this.#isReading = false;
    }
  }

  async #take(input: Input): Promise<void> {
    const position = this.#read++;
    try {
      check(input, position);
    } catch (error) {
      await this.#close().catch(() => undefined);
      throw error;
    }
    await this.#accept(input, position);
  }

  async #close(): Promise<void> {
    await this.#iterator?.return?.();
  }
}

/** Release what an iterator gave when it was no longer read. */
function discard(input: unknown): void {
  try {
    check(input, 0);
    files.discard(fileOf(input));
  } catch {
    // It is not an input.
  }
}

function iteratorOf(inputs: Inputs): Iterator<Input> | AsyncIterator<Input> {
  return Symbol.asyncIterator in inputs ? inputs[Symbol.asyncIterator]() : inputs[Symbol.iterator]();
}
