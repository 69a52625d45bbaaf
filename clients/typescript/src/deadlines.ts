/** The default deadlines of the contract. The client sets them too, so that a call cannot hang on a dead connection. */

import { type Input, given } from "./inputs.js";

/** Default deadline of calls without audio, in milliseconds. */
export const TEXT_MS = 60_000;
/** Default deadline of calls with audio, if all of it excludes tasks of the upstream. */
const SYNC_AUDIO_MS = 600_000;
/** Default deadline of calls with other audio, which the upstream may process as a task. */
const TASK_MS = 3_600_000;

/**
 * Return the default deadline of a call in milliseconds.
 *
 * Only the server knows whether it selects a task for audio, so audio that does not exclude tasks has their deadline.
 */
export function defaultMs(inputs: readonly Input[]): number {
  let isAudio = false;
  for (const input of inputs) {
    const { name, value } = given(input);
    if (name !== "audio") continue;
    if (value.processingMode !== "sync") return TASK_MS;
    isAudio = true;
  }
  return isAudio ? SYNC_AUDIO_MS : TEXT_MS;
}
