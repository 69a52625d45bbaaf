/** Adaptive concurrency of a run, and its pauses after rejections. */

import type { Failure } from "../errors.js";

const FIRST_BACK_OFF_MS = 100;
const LONGEST_BACK_OFF_MS = 5000;
const LONGEST_HINT_MS = 24 * 3_600_000;
const JITTER = 0.2;

/**
 * The limit of concurrent calls follows additive increase and multiplicative decrease. OVERLOADED lowers it to the
 * calls that still run: they use the capacity that the server has for this client, which is free when one of them ends.
 * After the retry delay one more call is sent, since the running ones may be long. Other rejections pause all sending,
 * and so does OVERLOADED if no call runs.
 *
 * Times are those of `performance.now()`.
 */
export class Pacing {
  /** End of the current pause. */
  pausedUntil = 0;
  /** Milliseconds of all pauses, including the current one. */
  pausedMs = 0;

  readonly #most: number;
  #limit: number;
  /** When one call more than the limit may be sent. */
  #oneMoreAt = Infinity;
  #backOffMs = 0;
  /** When the back-off was last raised. */
  #raisedAt = -Infinity;

  /**
   * @param most - maximum number of concurrent calls.
   */
  constructor(most: number) {
    this.#most = most;
    this.#limit = most;
  }

  /** Return when a further call may be sent if no running one ends before; infinity if one has to end. */
  nextAt(running: number): number {
    if (running >= this.#most) return Infinity;
    return Math.max(this.pausedUntil, running < Math.floor(this.#limit) ? -Infinity : this.#oneMoreAt);
  }

  /** Record a call that is sent while `running` others are running. */
  sent(running: number): void {
    if (running < Math.floor(this.#limit)) return;
    this.#limit = running + 1;
    this.#oneMoreAt = Infinity;
  }

  /** Record the end of a call that the server worked on. */
  completed(): void {
    this.#limit = Math.min(this.#most, this.#limit + 1 / this.#limit);
    this.#backOffMs = 0;
    this.#raisedAt = -Infinity;
  }

  /** Record the rejection of inputs of a call that was sent at `sentAt`, while `running` others are running. */
  rejected(failures: readonly Failure[], running: number, sentAt: number, now: number): void {
    const overloaded = failures.filter(({ reason }) => reason === "OVERLOADED").length;
    if (overloaded > 0) this.#limit = Math.min(this.#limit, Math.max(1, running));
    const asked = Math.max(...failures.map(({ retryDelayMs }) => retryDelayMs ?? 0));
    const delayMs = asked > 0 ? Math.min(asked, LONGEST_HINT_MS) : this.#backOff(sentAt, now);
    if (overloaded === failures.length && running > 0) this.#oneMoreAt = now + delayMs;
    else this.#pause(delayMs, now);
  }

  #pause(delayMs: number, now: number): void {
    const until = Math.max(this.pausedUntil, now + delayMs);
    this.pausedMs += until - Math.max(this.pausedUntil, now);
    this.pausedUntil = until;
  }

  /** Double the back-off, once for all calls that were sent before, and return it with jitter. */
  #backOff(sentAt: number, now: number): number {
    if (sentAt >= this.#raisedAt) {
      this.#backOffMs = Math.min(Math.max(2 * this.#backOffMs, FIRST_BACK_OFF_MS), LONGEST_BACK_OFF_MS);
      this.#raisedAt = now;
    }
    return this.#backOffMs * (1 + JITTER * (2 * Math.random() - 1));
  }
}
