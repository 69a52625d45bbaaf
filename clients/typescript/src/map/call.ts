/** One call of a run. */

import { EmbedwireError, type Failure, RequestError, errorOf, invalidResponse } from "../errors.js";
import type { EventStream } from "../events.js";
import { Collector } from "../replies.js";
import { Embedding, type Progress } from "../results.js";
import { failed, failuresByInput, isRejection, isTooLarge, isWorkedOn, placed, unreadable } from "./failures.js";
import type { Item } from "./item.js";

/** Receives the inputs that end or are to be sent again, and their progress, while a call is running. */
export interface Outlet {
  /** End an input. */
  finish(item: Item, embedding: Embedding): void;
  /** Report the progress of an input. */
  progress(progress: Progress): void;
  /** Send inputs again. The failures rejected them, in a call that was sent at `sentAt`. */
  sendAgain(items: readonly Item[], rejections: readonly Failure[], sentAt: number): void;
}

/** The end of a call, except what the outlet received. */
export interface Ending {
  /** Inputs to be sent again. */
  readonly again: readonly Item[];
  /** The failures that rejected them. */
  readonly rejections: readonly Failure[];
  /** Whether the server worked on the whole call, successfully or not. */
  readonly isWorkedOn: boolean;
}

const MISSING = invalidResponse("the server ended the call without a result for this input");

/** A call with these inputs. */
export class Call {
  readonly #events: EventStream;
  readonly #sent: readonly Item[];
  readonly #outlet: Outlet;
  readonly #open: Set<Item>;
  readonly #sentAt = performance.now();
  readonly #overloaded = new Map<Item, Failure>();
  #isRejected = false;

  constructor(events: EventStream, sent: readonly Item[], outlet: Outlet) {
    this.#events = events;
    this.#sent = sent;
    this.#outlet = outlet;
    this.#open = new Set(sent);
  }

  /**
   * Make the call, and pass its results to the outlet as they arrive.
   *
   * @throws Error - the call was aborted, or failed for a reason that does not concern an input.
   */
  async run(): Promise<Ending> {
    try {
      await this.#collect();
    } catch (error) {
      const failed = this.#readError(error);
      if (isRejection(failed.failure)) return this.#ending(this.#repeatable(failed), failed.failure);
      // The error of a file is not an error of the server.
      return {
        ...this.#failed(failed),
        isWorkedOn: !this.#isRejected && failed === error && isWorkedOn(failed.failure),
      };
    }
    for (const item of this.#open) this.#fail(item, MISSING);
    return { ...this.#ending(), isWorkedOn: !this.#isRejected };
  }

  async #collect(): Promise<void> {
    const collector = new Collector(this.#sent.length, this.#events.requestId);
    for await (const event of this.#events) {
      const embedding = collector.add(event);
      const item = this.#sent[event.inputIndex];
      if (item === undefined) continue;
      if (event.type === "progress") this.#progressed(item, event);
      else if (embedding !== undefined && this.#open.delete(item)) this.#arrived(item, embedding);
    }
  }

  #progressed(item: Item, progress: Progress): void {
    item.taskId = progress.upstreamTaskId || item.taskId;
    this.#outlet.progress({ ...progress, inputIndex: item.position });
  }

  #arrived(item: Item, { result, segments }: Embedding): void {
    const failure = result.failure && placed(result.failure, this.#sent);
    if (failure?.upstreamTaskId) item.taskId = failure.upstreamTaskId;
    if (failure !== undefined && isRejection(failure) && item.isRepeatable) {
      this.#isRejected = true;
      // OVERLOADED counts when the call ends, since its capacity is free then; other rejections count immediately.
      if (failure.reason === "OVERLOADED") this.#overloaded.set(item, failure);
      else this.#outlet.sendAgain([item], [failure], this.#sentAt);
      return;
    }
    const inputIndex = item.position;
    const moved = segments.map((segment) => ({ ...segment, inputIndex }));
    this.#outlet.finish(item, new Embedding({ ...result, inputIndex, failure }, moved));
  }

  /** Return the error of the call. The error of a file is the failure of the only input. */
  #readError(error: unknown): EmbedwireError {
    if (error instanceof EmbedwireError) return error;
    const [item] = this.#sent;
    if (item?.isUpload) return errorOf(unreadable(item, error), this.#events.requestId);
    throw error;
  }

  /** End the open inputs that are not sent again. Return the others. */
  #repeatable(error: EmbedwireError): readonly Item[] {
    const failure = placed(error.failure, this.#sent);
    const [only] = this.#sent;
    // The failure of a call with several inputs names no task.
    if (only !== undefined && this.#sent.length === 1) only.taskId = failure.upstreamTaskId || only.taskId;
    for (const item of this.#open) if (!item.isRepeatable) this.#fail(item, failure, error.attempts);
    return [...this.#open];
  }

  #failed(error: EmbedwireError): Ending {
    const again = this.#sent.length > 1 ? this.#withoutFailed(error) : undefined;
    if (again !== undefined) return this.#ending(again);
    const failure = placed(error.failure, this.#sent);
    for (const item of this.#open) this.#fail(item, failure, error.attempts);
    return this.#ending();
  }

  /** Return the inputs that may succeed in another call; undefined if the failure applies to all of them. */
  #withoutFailed(error: EmbedwireError): readonly Item[] | undefined {
    if (isTooLarge(error.failure) && this.#open.size > 1) return halves(this.#repeatable(error));
    if (!(error instanceof RequestError)) return undefined;
    const named = failuresByInput(error.failure, this.#sent);
    if (![...this.#open].some((item) => named.has(item))) return undefined;
    for (const [item, failure] of named) this.#fail(item, failure);
    return this.#repeatable(error);
  }

  #ending(again: readonly Item[] = [], ...rejections: Failure[]): Ending {
    return {
      again: [...this.#overloaded.keys(), ...again],
      rejections: [...this.#overloaded.values(), ...rejections],
      isWorkedOn: false,
    };
  }

  #fail(item: Item, failure: Failure, attempts = 0): void {
    if (this.#open.delete(item)) this.#outlet.finish(item, failed(item, failure, this.#events.requestId, attempts));
  }
}

/** Mark the two halves of a call that exceeds a limit. */
function halves(items: readonly Item[]): readonly Item[] {
  const [first, second] = [Symbol("first"), Symbol("second")];
  for (const [index, item] of items.entries()) item.half = index < items.length / 2 ? first : second;
  return items;
}
