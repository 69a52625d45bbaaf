/** The reader of the inputs of a run. */

import { setImmediate } from "node:timers/promises";

import * as files from "../files.js";
import { type Input, check, fileOf } from "../inputs.js";
import { Gate } from "./gate.js";

/** The inputs of a run. */
export type Inputs = Iterable<Input> | AsyncIterable<Input>;

/** The reader yields to the event loop after this time, else an iterator that never waits would delay results. */
const SLICE_MS = 10;

/** Reads the inputs one after the other, no further ahead of the consumer than allowed. */
export class Reader {
  /** Whether reading is over: the iterator has ended or failed, or has yielded an invalid value. */
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
   * @param ahead - maximum number of inputs read whose embeddings the consumer has not received.
   * @param accept - receives each input with its position.
   */
  constructor(inputs: Inputs, ahead: number, accept: (input: Input, position: number) => Promise<void>) {
    this.#inputs = inputs;
    this.#ahead = ahead;
    this.#accept = accept;
  }

  /**
   * Read all inputs.
   *
   * @throws TypeError - the iterator yielded a value that is not an input; it is closed then.
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

  /** Record that the consumer has received an embedding. */
  took(): void {
    this.#taken += 1;
    this.#gate.open();
  }

  /** Stop reading and close the iterator. Does not wait for a blocked iterator. */
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

/** Release an input that arrives after reading was stopped. */
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
