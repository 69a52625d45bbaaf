/** The inputs of a run that wait to be sent, and the groups in which they are. */

import { INLINE_BYTES } from "../requests.js";
import type { Item } from "./item.js";

/** How long the first input of a group waits for further ones. */
const FILL_MS = 50;

/**
 * The inputs that wait. A group is formed when a call may be sent and not before, so that groups fill up while a run
 * waits. An input that has to be uploaded is a group of its own, beside the group that is being filled.
 *
 * Times are those of `performance.now()`.
 */
export class Queue {
  readonly #most: number;
  readonly #inline: Item[] = [];
  readonly #uploads: Item[] = [];
  /** Whether the last group was an upload. They alternate, so that uploads that are rejected again hold up no texts. */
  #wasUpload = false;

  /**
   * @param most - inputs in a group.
   */
  constructor(most: number) {
    this.#most = most;
  }

  /** Whether nothing waits. */
  get isEmpty(): boolean {
    return this.#inline.length === 0 && this.#uploads.length === 0;
  }

  /** When the group that is being filled is sent as it is; infinity if there is none. */
  get dueAt(): number {
    const [first] = this.#inline;
    return first === undefined ? Infinity : first.readAt + FILL_MS;
  }

  /** The earliest deadline of all inputs that wait; infinity if there is none. */
  get deadlineAt(): number {
    const waiting = [...sent(this.#inline), ...sent(this.#uploads)];
    return waiting.reduce((at, item) => Math.min(at, item.deadlineAt ?? Infinity), Infinity);
  }

  /** Append an input. */
  add(item: Item): void {
    (item.isUpload ? this.#uploads : this.#inline).push(item);
  }

  /** Put inputs that were sent to the front again. */
  putBack(items: readonly Item[]): void {
    this.#inline.unshift(...items.filter(({ isUpload }) => !isUpload));
    this.#uploads.unshift(...items.filter(({ isUpload }) => isUpload));
  }

  /** Take the group to be sent now; undefined if there is none, or if it waits for further inputs. */
  take(now: number, isAtEnd: boolean): readonly Item[] | undefined {
    const { count, isFull } = this.#group();
    const isReady = isFull || (count > 0 && (isAtEnd || now >= this.dueAt));
    this.#wasUpload = this.#uploads.length > 0 && !(isReady && this.#wasUpload);
    if (this.#wasUpload) return this.#uploads.splice(0, 1);
    return isReady ? this.#inline.splice(0, count) : undefined;
  }

  /** Take all inputs whose deadline is not after this time. */
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

/** The inputs that have been sent before and have a deadline; they are at the front. */
function sent(list: readonly Item[]): readonly Item[] {
  const count = list.findIndex(({ deadlineAt }) => deadlineAt === undefined);
  return list.slice(0, count < 0 ? list.length : count);
}
