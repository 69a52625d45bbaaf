/** When a run may send its next call: how many at a time, and how long it pauses after rejections. */

import type { Failure } from "../errors.js";

const FIRST_BACK_OFF_MS = 100;
const LONGEST_BACK_OFF_MS = 5000;
const JITTER = 0.2;

/**
 * The number of calls at a time follows additive increase and multiplicative decrease. OVERLOADED lowers it to the calls
 * that still run: these have the places that the server has for this client, and a place is free when one of them ends.
 * Other rejections pause all sending, and so does OVERLOADED if no call runs.
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
  #backOffMs = FIRST_BACK_OFF_MS;

  /**
   * @param most - calls at a time.
   */
  constructor(most: number) {
    this.#most = most;
    this.#limit = most;
  }

  /** Whether a further call may be sent while others are running. */
  allows(running: number, now: number): boolean {
    return now >= this.pausedUntil && running < Math.floor(this.#limit);
  }

  /** A call has ended without a rejection. */
  completed(): void {
    this.#limit = Math.min(this.#most, this.#limit + 1 / this.#limit);
    this.#backOffMs = FIRST_BACK_OFF_MS;
  }

  /** Inputs were rejected while so many other calls are running. */
  rejected(failures: readonly Failure[], running: number, now: number): void {
    const overloaded = failures.filter(({ reason }) => reason === "OVERLOADED").length;
    if (overloaded > 0) this.#limit = Math.min(this.#limit, Math.max(1, running));
    if (overloaded === failures.length && running > 0) return;
    const asked = Math.max(...failures.map(({ retryDelayMs }) => retryDelayMs ?? 0));
    if (asked > 0) this.#pause(asked, now);
    else if (now >= this.pausedUntil) this.#pause(this.#backOff(), now);
  }

  #pause(delayMs: number, now: number): void {
    const until = Math.max(this.pausedUntil, now + delayMs);
    this.pausedMs += until - Math.max(this.pausedUntil, now);
    this.pausedUntil = until;
  }

  #backOff(): number {
    const delay = this.#backOffMs * (1 + JITTER * (2 * Math.random() - 1));
    this.#backOffMs = Math.min(2 * this.#backOffMs, LONGEST_BACK_OFF_MS);
    return delay;
  }
}
