/** The retry of rejected calls. */

import { setTimeout as sleep } from "node:timers/promises";

import type { StatusObject } from "@grpc/grpc-js";

import type { CallArguments } from "./connection.js";
import { errorOfStatus } from "./details.js";

const PUSHBACK_KEY = "grpc-retry-pushback-ms";

/**
 * The attempts of one call, within one deadline: a call that the server rejected or ended in its shutdown is retried
 * once, after the delay that the server requests.
 *
 * The retries of gRPC are not used: they would also repeat a call whose connection broke while the server worked on it.
 * They also wait for a retry beyond the deadline, and then the rejection would not be reported.
 */
export class Attempts {
  /** Deadline of the call, in the time of `Date.now()`. */
  readonly deadline: number;

  #left: number;

  constructor({ timeoutMs, attempts }: CallArguments) {
    this.deadline = Date.now() + timeoutMs;
    this.#left = attempts - 1;
  }

  /** Return the milliseconds until the retry; undefined if there is none. */
  delayMs(status: StatusObject): number | undefined {
    const { code } = errorOfStatus(status, "");
    if (code !== "RESOURCE_EXHAUSTED" && code !== "UNAVAILABLE") return undefined;
    const asked = String(status.metadata.get(PUSHBACK_KEY)[0]);
    const delay = /^\d+$/.test(asked) ? Number(asked) : Infinity;
    if (this.#left < 1 || Date.now() + delay >= this.deadline) return undefined;
    this.#left -= 1;
    return delay;
  }
}

/** Wait, at most until the signal is aborted. */
export async function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  await sleep(delayMs, undefined, { signal }).catch(() => undefined);
}
