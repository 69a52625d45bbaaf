/** The queue of inputs of a run. */

import { INLINE_BYTES } from "../requests.js";
import type { Item } from "./item.js";

/** Maximum wait of the first input of a group for further ones. */
const FILL_MS = 50;

/**
 * The queue of inputs to send. A group is formed only when a call may be sent, so that groups fill up while a run
 * waits. An upload is a separate group, beside the group that is being filled.
 *
 * Times are those of `performance.now()`.
 */
export class Queue {
  readonly #most: number;
  readonly #inline: Item[] = [];
  readonly #uploads: Item[] = [];
  /** Whether the last group was an upload. Both kinds alternate, so that rejected uploads do not delay texts. */
  #wasUpload = false;

  /**
   * @param most - maximum number of inputs in a group.
   */
  constructor(most: number) {
    this.#most = most;
  }

  /** Whether the queue is empty. */
  get isEmpty(): boolean {
    return this.#inline.length === 0 && this.#uploads.length === 0;
  }

  /** When the group that is being filled is sent even if it is not full; infinity if there is none. */
  get dueAt(): number {
    const [first] = this.#inline;
    return first === undefined ? Infinity : first.readAt + FILL_MS;
  }

  /** Earliest deadline of all queued inputs; infinity if there is none. */
  get deadlineAt(): number {
    const waiting = [...sent(this.#inline), ...sent(this.#uploads)];
    return waiting.reduce((at, item) => Math.min(at, item.deadlineAt ?? Infinity), Infinity);
  }

  /** Append an input. */
  add(item: Item): void {
    (item.isUpload ? this.#uploads : this.#inline).push(item);
  }

  /** Put inputs that were sent at the front again. */
  putBack(items: readonly Item[]): void {
    this.#inline.unshift(...items.filter(({ isUpload }) => !isUpload));
    this.#uploads.unshift(...items.filter(({ isUpload }) => isUpload));
  }

  /** Remove and return the group to send now; undefined if there is none, or if it waits for further inputs. */
  take(now: number, isAtEnd: boolean): readonly Item[] | undefined {
    const { count, isFull } = this.#group();
    const isReady = isFull || (count > 0 && (isAtEnd || now >= this.dueAt));
    this.#wasUpload = this.#uploads.length > 0 && !(isReady && this.#wasUpload);
    if (this.#wasUpload) return this.#uploads.splice(0, 1);
    return isReady ? this.#inline.splice(0, count) : undefined;
  }

  /** Remove and return all inputs whose deadline has passed at this time. */
  takeExpired(at: number): readonly Item[] {
    return [this.#inline, this.#uploads].flatMap((list) => {
      const waiting = sent(list);
      const expired = waiting.filter(({ deadlineAt = Infinity }) => deadlineAt <= at);
      if (expired.length > 0) list.splice(0, waiting.length, ...waiting.filter((item) => !expired.includes(item)));
      return expired;
    });
  }

  #group(): { count: number; isFull: boolean } {
    let bytes = 0;
    for (const [count, item] of this.#inline.entries()) {
      bytes += item.contentBytes;
      const isLarge = count > 0 && bytes > INLINE_BYTES;
      if (count === this.#most || isLarge || !this.#isJoined(item)) return { count, isFull: true };
    }
    const count = this.#inline.length;
    return { count, isFull: count >= this.#most };
  }

  /** Whether an input may be in a group with the first one: both have the same deadline and are of the same half. */
  #isJoined({ deadlineAt, half }: Item): boolean {
    return deadlineAt === this.#inline[0]?.deadlineAt && half === this.#inline[0]?.half;
  }
}

/** Return the inputs that were sent before and have a deadline; they are at the front. */
function sent(list: readonly Item[]): readonly Item[] {
  const count = list.findIndex(({ deadlineAt }) => deadlineAt === undefined);
  return list.slice(0, count < 0 ? list.length : count);
}
