/** When a run may send its next call: how many at a time, and how long it pauses after rejections. */

import type { Failure } from "../errors.js";

const FIRST_BACK_OFF_MS = 100;
const LONGEST_BACK_OFF_MS = 5000;
const LONGEST_HINT_MS = 24 * 3_600_000;
const JITTER = 0.2;

/**
 * The number of calls at a time follows additive increase and multiplicative decrease. OVERLOADED lowers it to the calls
 * that still run: these have the places that the server has for this client, and a place is free when one of them ends.
 * After the delay one call more is sent all the same, since they may run for long. Other rejections pause all sending,
 * and so does OVERLOADED if no call runs.
 *
 * Times are those of `performance.now()`.
 */
export class Pacing {
  /** When the present pause ends. */
  pausedUntil = 0;
  /** Milliseconds of all pauses, the present one included. */
  pausedMs = 0;

  readonly #most: number;
  #limit: number;
  /** When one call more than the limit may be sent. */
  #oneMoreAt = Infinity;
  #backOffMs = 0;
  /** When the back-off was last raised. */
  #raisedAt = -Infinity;

  /**
   * @param most - calls at a time.
   */
  constructor(most: number) {
    this.#most = most;
    this.#limit = most;
  }

  /** When a further call may be sent if none of those that are running ends before; infinity if one has to end. */
  nextAt(running: number): number {
    if (running >= this.#most) return Infinity;
    return Math.max(this.pausedUntil, running < Math.floor(this.#limit) ? -Infinity : this.#oneMoreAt);
  }

  /** A call is sent while so many others are running. */
  sent(running: number): void {
    if (running < Math.floor(this.#limit)) return;
    this.#limit = running + 1;
    this.#oneMoreAt = Infinity;
  }

  /** A call has ended on which the server has worked. */
  completed(): void {
    this.#limit = Math.min(this.#most, this.#limit + 1 / this.#limit);
    this.#backOffMs = 0;
    this.#raisedAt = -Infinity;
  }

  /** Inputs of a call that was sent at this time were rejected, while so many other calls are running. */
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

  /** It is raised once for all calls that were sent before. */
  #backOff(sentAt: number, now: number): number {
    if (sentAt >= this.#raisedAt) {
      this.#backOffMs = Math.min(Math.max(2 * this.#backOffMs, FIRST_BACK_OFF_MS), LONGEST_BACK_OFF_MS);
      this.#raisedAt = now;
    }
    return this.#backOffMs * (1 + JITTER * (2 * Math.random() - 1));
  }
}
