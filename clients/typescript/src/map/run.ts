/** One run of `Client.map`: it reads the inputs, sends them in calls, and yields their embeddings. */

import { setMaxListeners } from "node:events";

import { DeadlineExceededError, type Failure } from "../errors.js";
import type { EventStream } from "../events.js";
import * as files from "../files.js";
import type { Input } from "../inputs.js";
import { onAbort } from "../lifetime.js";
import type { MapOptions } from "../options.js";
import { type Encoded, encode } from "../requests.js";
import type { Embedding, Progress } from "../results.js";
import { Call, type Ending, type Outlet } from "./call.js";
import { failed, late, unreadable } from "./failures.js";
import { Gate } from "./gate.js";
import { Item } from "./item.js";
import { Pacing } from "./pacing.js";
import { Queue } from "./queue.js";
import { type Inputs, Reader } from "./reader.js";

const INPUTS_PER_CALL = 16;
const CONCURRENT_CALLS = 8;
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const LATE_INPUT = late("the deadline of the input passed while it waited to be sent again");
const LATE_RUN = late("the timeout of the run passed");
const NOTHING: Ending = { again: [], rejections: [], isWorkedOn: false };

/** Makes a call with encoded inputs. Returns its events and its timeout. */
export type OpenCall = (
  inputs: readonly Input[],
  encoded: readonly Encoded[],
  timeoutMs: number | undefined,
  signal: AbortSignal,
) => { events: EventStream; timeoutMs: number };

interface Prepared {
  readonly item: Item;
  readonly encoded: Encoded;
}

/** A run. Times are those of `performance.now()`. */
export class Run implements Outlet {
  readonly #options: MapOptions;
  readonly #openCall: OpenCall;
  readonly #reader: Reader;
  readonly #queue: Queue;
  readonly #pacing: Pacing;
  /** Inputs that have been read and have not ended. */
  readonly #unfinished = new Set<Item>();
  /** Embeddings that have not been yielded. */
  readonly #ready: Embedding[] = [];
  readonly #changed = new Gate();
  /** Cancels all calls; its reason is the error of the run. */
  readonly #calls = new AbortController();
  readonly #startedAt = performance.now();
  #running = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(inputs: Inputs, options: MapOptions, openCall: OpenCall) {
    const { inputsPerCall = INPUTS_PER_CALL, concurrentCalls = CONCURRENT_CALLS } = options;
    this.#options = options;
    this.#openCall = openCall;
    this.#queue = new Queue(inputsPerCall);
    this.#pacing = new Pacing(concurrentCalls);
    this.#reader = new Reader(inputs, inputsPerCall * concurrentCalls, (input, position) =>
      this.#accept(input, position),
    );
    setMaxListeners(0, this.#calls.signal); // one for each call
  }

  /** Yield one embedding for each input, until the signal is aborted. */
  async *embeddings(signal: AbortSignal): AsyncGenerator<Embedding, void, undefined> {
    const release = onAbort(signal, () => {
      this.#abort(signal.reason);
    });
    const reading = this.#reader.run();
    const advance = () => {
      this.#advance();
    };
    reading.then(advance, advance);
    advance();
    let isFailed = false;
    try {
      for (;;) {
        signal.throwIfAborted();
        const ready = this.#ready.splice(0);
        for (const embedding of ready) {
          this.#reader.took();
          yield embedding;
          signal.throwIfAborted();
        }
        if (ready.length > 0) continue;
        if (this.#isOver) break;
        await this.#changed.wait();
      }
      this.#calls.signal.throwIfAborted();
      await reading; // throws what the iterator threw
    } catch (error) {
      isFailed = true;
      throw error;
    } finally {
      release();
      await this.#end(isFailed);
    }
  }

  /** End an input with its embedding. */
  finish(item: Item, embedding: Embedding): void {
    if (this.#calls.signal.aborted || !this.#unfinished.delete(item)) return;
    if (embedding.failure !== undefined) files.discard(item.file);
    this.#ready.push(embedding);
    this.#changed.open();
  }

  /** Call the function of the caller. What it throws ends the run. */
  progress(progress: Progress): void {
    if (this.#calls.signal.aborted) return;
    try {
      this.#options.onProgress?.(progress);
    } catch (error) {
      this.#abort(error);
    }
  }

  /** Put inputs at the front of the queue again. */
  sendAgain(items: readonly Item[], rejections: readonly Failure[], sentAt: number): void {
    this.#queue.putBack(items);
    if (rejections.length > 0) this.#pacing.rejected(rejections, this.#running, sentAt, performance.now());
    this.#advance();
  }

  /** Whether all inputs have ended; calls may still wait for their status. */
  get #isComplete(): boolean {
    return this.#reader.isOver && this.#unfinished.size === 0;
  }

  get #isOver(): boolean {
    const isAtEnd = this.#running === 0 || performance.now() >= this.#deadlineAt;
    return this.#calls.signal.aborted || (this.#isComplete && isAtEnd);
  }

  get #deadlineAt(): number {
    const { runTimeoutMs = Infinity, countWaits = false } = this.#options;
    return this.#startedAt + runTimeoutMs + (countWaits ? 0 : this.#pacing.pausedMs);
  }

  async #accept(input: Input, position: number): Promise<void> {
    const item = new Item(input, position);
    this.#unfinished.add(item);
    try {
      await item.measure();
    } catch (error) {
      this.finish(item, failed(item, unreadable(item, error)));
      return;
    }
    if (!this.#unfinished.has(item)) return; // the run has timed out
    this.#queue.add(item);
    this.#advance();
  }

  /** Send the calls that are due, and set the timer for the next event. */
  #advance(): void {
    if (this.#calls.signal.aborted) return;
    const now = performance.now();
    if (now >= this.#deadlineAt) {
      this.#timeOut();
      return;
    }
    for (const item of this.#queue.takeExpired(Math.max(now, this.#pacing.pausedUntil))) {
      this.finish(item, failed(item, LATE_INPUT));
    }
    while (now >= this.#pacing.nextAt(this.#running)) {
      const group = this.#queue.take(now, this.#reader.isOver);
      if (group === undefined) break;
      void this.#send(group);
    }
    this.#setTimer(now);
    this.#changed.open();
  }

  #setTimer(now: number): void {
    clearTimeout(this.#timer);
    const nextAt = this.#queue.isEmpty ? Infinity : this.#pacing.nextAt(this.#running);
    const dueAt = now < nextAt ? nextAt : this.#queue.dueAt;
    const wakeAt = Math.min(this.#deadlineAt, dueAt, this.#options.countWaits ? this.#queue.deadlineAt : Infinity);
    if (wakeAt === Infinity) return;
    const delay = Math.min(Math.ceil(wakeAt - now), LONGEST_TIMER_MS);
    this.#timer = setTimeout(() => {
      this.#advance();
    }, delay);
  }

  /** Send a group. Never rejects: an error that does not concern an input ends the run. */
  async #send(group: readonly Item[]): Promise<void> {
    const sentAt = performance.now();
    this.#pacing.sent(this.#running);
    this.#running += 1;
    let ending = NOTHING;
    try {
      const prepared = await this.#prepared(group);
      if (prepared.length > 0 && !this.#calls.signal.aborted) ending = await this.#call(prepared).run();
    } catch (error) {
      this.#abort(error);
    }
    this.#running -= 1;
    if (ending.isWorkedOn) this.#pacing.completed();
    this.sendAgain(ending.again, ending.rejections, sentAt);
  }

  /** Encode a group. Files are read one at a time, since each needs a descriptor. Inputs with unreadable files end. */
  async #prepared(group: readonly Item[]): Promise<readonly Prepared[]> {
    const prepared: Prepared[] = [];
    for (const item of group) {
      try {
        prepared.push({ item, encoded: await encode(item.input, item.fileBytes, !item.isUpload) });
      } catch (error) {
        this.finish(item, failed(item, unreadable(item, error)));
      }
    }
    return prepared;
  }

  #call(prepared: readonly Prepared[]): Call {
    const items = prepared.map(({ item }) => item);
    const inputs = items.map(({ input }) => input);
    const encoded = prepared.map((each) => each.encoded);
    const now = performance.now();
    const deadlineAt = items[0]?.deadlineAt; // the same for all: see Queue
    const asked = deadlineAt === undefined ? this.#options.timeoutMs : Math.max(0, deadlineAt - now);
    const { events, timeoutMs } = this.#openCall(inputs, encoded, asked, this.#calls.signal);
    if (this.#options.countWaits) for (const item of items) item.deadlineAt ??= now + timeoutMs;
    return new Call(events, items, this);
  }

  /** End the run at its timeout. Inputs without a result fail, and so does the run if there are any. */
  #timeOut(): void {
    if (this.#isComplete) {
      this.#changed.open();
      return;
    }
    for (const item of this.#unfinished) this.finish(item, failed(item, LATE_RUN));
    this.#abort(new DeadlineExceededError(LATE_RUN));
  }

  /** Cancel all calls and stop reading. Embeddings that are ready can still be received. */
  #abort(reason?: unknown): void {
    clearTimeout(this.#timer);
    this.#calls.abort(reason);
    this.#reader.stop().catch(() => undefined); // thrown by #end
    this.#changed.open();
  }

  /** Release all resources. An error of closing the iterator does not replace the error of the run. */
  async #end(isFailed: boolean): Promise<void> {
    this.#abort();
    for (const { file } of this.#unfinished) files.discard(file);
    await this.#reader.stop().catch((error: unknown) => {
      if (!isFailed) throw error;
    });
  }
}
