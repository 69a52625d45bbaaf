/** What comes back: segments and results as they arrive, embeddings when they are complete. */

import { type Failure, errorOf } from "./errors.js";

/** What a segment is a part of; "unknown" if the server knows a modality that this client does not. */
export type Modality = "text" | "image" | "audio" | "unknown";

/** One vector of one input. Provisional: a failed {@link Result} of the same input makes it invalid. */
export interface Segment {
  readonly type: "segment";
  /** Which input it belongs to, counted from 0 in the request. */
  readonly inputIndex: number;
  /** The key of that input. */
  readonly inputKey: string;
  /** Its position among the segments of the input, counted from 0, in the upstream's order. */
  readonly segmentIndex: number;
  /** What it is a part of. */
  readonly modality: Modality;
  /** The embedding, in an array and a buffer of its own. */
  readonly vector: Float32Array;
  /** Start of the window, in seconds from the beginning of the file; undefined unless audio. */
  readonly startOffsetSec?: number | undefined;
  /** End of the window, likewise; undefined unless audio, or if the upstream does not tell. */
  readonly endOffsetSec?: number | undefined;
  /**
   * What of the audio was embedded, in the upstream's words, for instance "audio" or "transcription"; empty unless
   * audio, or if the upstream does not say.
   */
  readonly embeddingOption: string;
}

/** Where the time of one input went, in milliseconds. */
export interface Timings {
  /** Waiting for a turn within the server. */
  readonly queueMs: number;
  /** Waiting for the bytes of an upload. */
  readonly uploadMs: number;
  /** Waiting for the upstream, over all attempts. */
  readonly upstreamMs: number;
  /** Decoding the upstream's reply. */
  readonly decodeMs: number;
}

/** The end of one input, after its last segment. With a failure, its segments are invalid. */
export interface Result {
  readonly type: "result";
  /** Which input, counted from 0 in the request. */
  readonly inputIndex: number;
  /** The key of that input. */
  readonly inputKey: string;
  /** The model as the upstream names it; empty if the input failed. */
  readonly modelName: string;
  /** Length of each vector; 0 if the input failed. */
  readonly dimensions: number;
  /** How many segments were sent for this input. */
  readonly segmentCount: number;
  /** The URL of the media, in the upstream's words; undefined for anything else. */
  readonly inputUrl?: string | undefined;
  /** The name of the file, in the upstream's words; undefined for anything else. */
  readonly inputFilename?: string | undefined;
  /** Whether the input was cut; undefined if the upstream does not tell. */
  readonly truncated?: boolean | undefined;
  /** Length of the audio in seconds; undefined if the upstream does not tell. */
  readonly mediaDurationSec?: number | undefined;
  /** How many upstream requests were made. */
  readonly attempts: number;
  /** Where the time went. */
  readonly timings: Timings;
  /**
   * The upstream: "twelvelabs", "sandbox" or "custom". Vectors of the sandbox are not those of the real model; do not
   * store them in a real index.
   */
  readonly upstream: string;
  /** Why the input failed; undefined means success. */
  readonly failure?: Failure | undefined;
  /** The id of the call, under which the server's log has the details. */
  readonly requestId: string;
}

/** What a stream hands out; `type` tells which. */
export type Event = Segment | Result;

/** Everything of one input. */
export class Embedding {
  /** Made by the client. */
  constructor(
    /** How it ended. */
    readonly result: Result,
    /** Its segments in their order; none if the input failed. */
    readonly segments: readonly Segment[],
  ) {}

  /** Why the input failed; undefined means success. */
  get failure(): Failure | undefined {
    return this.result.failure;
  }

  /**
   * The only vector, as texts and images have it.
   *
   * @throws EmbedwireError - the input failed.
   * @throws RangeError - there are several segments, as audio has them.
   */
  get vector(): Float32Array {
    const { failure, requestId, attempts } = this.result;
    if (failure !== undefined) throw errorOf(failure, requestId, attempts);
    const [first, ...more] = this.segments;
    if (first === undefined || more.length > 0) {
      throw new RangeError(`there are ${this.segments.length.toString()} segments; take them from segments`);
    }
    return first.vector;
  }
}

/** The text that a model accepts. */
export interface TextSupport {
  /** Longest text in tokens, for information: the upstream's tokenizer is not public. */
  readonly maxTokens: number;
  /** The values of {@link TextInput.truncate} that the model can honour. */
  readonly truncates: readonly string[];
  /** Longest text in bytes of UTF-8 that the server accepts. */
  readonly maxBytes: number;
}

/** The images that a model accepts. */
export interface ImageSupport {
  /** For instance "image/png". */
  readonly mediaTypes: readonly string[];
  /** Largest file in bytes. */
  readonly maxBytes: number;
  /** Least width and height in pixels. */
  readonly minSidePx: number;
}

/** The audio that a model accepts. */
export interface AudioSupport {
  /** For instance "audio/mpeg". */
  readonly mediaTypes: readonly string[];
  /** Largest file in bytes. */
  readonly maxBytes: number;
}

/** What one model accepts and returns. */
export interface Model {
  /** The name to put into a request. */
  readonly name: string;
  /** Other spellings that mean the same model. */
  readonly aliases: readonly string[];
  /** Length of every vector. Vectors of different models are not comparable. */
  readonly dimensions: number;
  /** What it takes as text; undefined if it takes none. */
  readonly text?: TextSupport | undefined;
  /** What it takes as images; undefined if it takes none. */
  readonly image?: ImageSupport | undefined;
  /** What it takes as audio; undefined if it takes none. */
  readonly audio?: AudioSupport | undefined;
}
