/** What is called once more, and when. */

import { setTimeout as sleep } from "node:timers/promises";

import { type StatusObject, status as StatusCode } from "@grpc/grpc-js";

import type { CallArguments } from "./connection.js";

const PUSHBACK_KEY = "grpc-retry-pushback-ms";

/**
 * The attempts of one call, within one deadline: what the server refused before it did any work is called once more,
 * when the server says so.
 *
 * Not by gRPC's own retries: they would also repeat a call whose connection broke while the server was at work, and wait
 * for a second attempt beyond the deadline rather than tell of the refusal.
 */
export class Attempts {
  /** When the time of the call is up, as `Date.now()` counts. */
  readonly deadline: number;

  #left: number;

  constructor({ timeoutMs, attempts }: CallArguments) {
    this.deadline = Date.now() + timeoutMs;
    this.#left = attempts - 1;
  }

  /** Milliseconds until the next attempt; undefined if there is none. */
  delayMs({ code, metadata }: StatusObject): number | undefined {
    if (code !== StatusCode.RESOURCE_EXHAUSTED && code !== StatusCode.UNAVAILABLE) return undefined;
    const asked = String(metadata.get(PUSHBACK_KEY)[0]);
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
