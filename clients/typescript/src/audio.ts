/** The options of an audio input. */

import { checkType, checkWhole, onlyMember } from "./checks.js";

/** Division of audio into windows of equal duration. {@link AudioSupport.fixedSegmentation} has the range of a model. */
export interface FixedSegmentation {
  /** The windows. */
  readonly fixed: {
    /** Duration of a window, a whole number of seconds. */
    readonly durationSec: number;
  };
  readonly dynamic?: undefined;
}

/**
 * Division of audio where its content changes. {@link AudioSupport.dynamicSegmentation} has the range of a model.
 */
export interface DynamicSegmentation {
  /** The windows. */
  readonly dynamic: {
    /** Minimum duration of a window, a whole number of seconds. */
    readonly minDurationSec: number;
  };
  readonly fixed?: undefined;
}

/** Division of audio into segments. */
export type Segmentation = FixedSegmentation | DynamicSegmentation;

/** The way in which the upstream processes audio; see {@link AudioOptions.processingMode}. */
export type ProcessingMode = "sync" | "task";

/** The options of an audio input. {@link Model.audio} has the values that a model supports. */
export interface AudioOptions {
  /** Start in seconds from the beginning of the file. Offsets of segments also count from the beginning. */
  readonly startOffsetSec?: number | undefined;
  /** End in seconds from the beginning of the file; by default the end of the file. */
  readonly endOffsetSec?: number | undefined;
  /** Division into segments; by default that of the model. */
  readonly segmentation?: Segmentation | undefined;
  /** Aspects to embed, for instance "audio" and "transcription"; by default all. Each window has a segment for each. */
  readonly embeddingOptions?: readonly string[] | undefined;
  /** Scopes of the segments, "clip" for windows and "asset" for the whole file; by default "clip". */
  readonly embeddingScopes?: readonly string[] | undefined;
  /**
   * Types of the vectors, "separate_embedding" for one of each aspect and "fused_embedding" for a common one of all; by
   * default "separate_embedding".
   */
  readonly embeddingTypes?: readonly string[] | undefined;
  /**
   * "sync" for one synchronous request, which rejects long audio; "task" for a task, which the upstream completes in the
   * background and bills even if the call ends before. By default the server selects.
   */
  readonly processingMode?: ProcessingMode | undefined;
}

const PROCESSING_MODES: readonly unknown[] = ["sync", "task", undefined];
const MAX_SECONDS = 2 ** 31 - 1; // the type of the fields

/**
 * Check the types of the options of an audio input.
 *
 * @param at - path of the input, for messages.
 * @throws TypeError - one of them is invalid.
 */
export function checkAudioOptions(at: string, audio: object): void {
  const options: { readonly [Name in keyof AudioOptions]: unknown } = audio;
  checkType(`${at}.startOffsetSec`, options.startOffsetSec, "number");
  checkType(`${at}.endOffsetSec`, options.endOffsetSec, "number");
  if (options.segmentation !== undefined) checkSegmentation(`${at}.segmentation`, options.segmentation);
  for (const name of ["embeddingOptions", "embeddingScopes", "embeddingTypes"] as const) {
    checkNames(`${at}.${name}`, options[name]);
  }
  if (!PROCESSING_MODES.includes(options.processingMode)) {
    throw new TypeError(`${at}.processingMode: must be "sync" or "task"`);
  }
}

function checkSegmentation(at: string, value: unknown): void {
  const { name: method, value: windows } = onlyMember(at, value, ["fixed", "dynamic"]);
  const duration = onlyMember(`${at}.${method}`, windows, [method === "fixed" ? "durationSec" : "minDurationSec"]);
  checkWhole(`${at}.${method}.${duration.name}`, duration.value, 1, MAX_SECONDS);
}

function checkNames(at: string, value: unknown): void {
  if (value === undefined) return;
  if (!Array.isArray(value) || !value.every((item) => typeof item === "string")) {
    throw new TypeError(`${at}: must be an array of strings`);
  }
}
