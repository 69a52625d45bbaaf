/** The values that calls return: segments, results, embeddings, models. */

import { type Failure, errorOf } from "./errors.js";

/** Modality of a segment; "unknown" is one that this version of the client does not know. */
export type Modality = "text" | "image" | "audio" | "unknown";

/**
 * Whether the server reused a result: "hit", from its cache; "coalesced", from the upstream request of an identical input
 * in flight; "miss", neither; "unknown" is one that this version of the client does not know.
 */
export type CacheStatus = "hit" | "coalesced" | "miss" | "unknown";

/** Stage of an input; "unknown" is one that this version of the client does not know. */
export type Stage = "uploading" | "preparing" | "processing" | "unknown";

/** One vector of one input. It is provisional: a failed {@link Result} of the same input invalidates it. */
export interface Segment {
  readonly type: "segment";
  /** Position of its input in the request, from 0. */
  readonly inputIndex: number;
  /** Key of its input. */
  readonly inputKey: string;
  /** Position among the segments of the input, from 0, in the order of the upstream. */
  readonly segmentIndex: number;
  /** Modality of its input. */
  readonly modality: Modality;
  /** Embedding, of {@link Result.dimensions} values, in a separate buffer. */
  readonly vector: Float32Array;
  /** Start of the window, in seconds from the beginning of the file; undefined unless audio. */
  readonly startOffsetSec?: number | undefined;
  /** End of the window in seconds; undefined unless audio, or if the upstream does not report it. */
  readonly endOffsetSec?: number | undefined;
  /** Aspect of the audio, for instance "audio" or "transcription"; empty unless audio, or if not reported. */
  readonly embeddingOption: string;
  /** Scope, "clip" for a window or "asset" for the whole file; empty unless audio, or if not reported. */
  readonly embeddingScope: string;
  /**
   * Uncertainty of each value of the vector, in a separate buffer; undefined unless `includeUncertainty` was set and the
   * upstream returned it.
   */
  readonly uncertainty?: Float32Array | undefined;
}

/** Times that one input spent in each phase, in milliseconds. */
export interface Timings {
  /** Waiting in the queues of the server. */
  readonly queueMs: number;
  /** Waiting for the bytes of an upload. */
  readonly uploadMs: number;
  /** Waiting for the upstream, all attempts together. */
  readonly upstreamMs: number;
  /** Decoding the upstream's response. */
  readonly decodeMs: number;
}

/** The last event of one input, after its last segment. If it has a failure, the segments are invalid. */
export interface Result {
  readonly type: "result";
  /** Position of the input in the request, from 0. */
  readonly inputIndex: number;
  /** Key of the input. */
  readonly inputKey: string;
  /** Model name as reported by the upstream; empty if the input failed. */
  readonly modelName: string;
  /** Length of each vector; 0 if the input failed. */
  readonly dimensions: number;
  /** Number of segments of this input. */
  readonly segmentCount: number;
  /** URL of the media, as reported by the upstream; undefined for other inputs. */
  readonly inputUrl?: string | undefined;
  /** Name of the file, as reported by the upstream; undefined for other inputs. */
  readonly inputFilename?: string | undefined;
  /** Whether the input was truncated; undefined if the upstream does not report it. */
  readonly truncated?: boolean | undefined;
  /** Duration of the audio in seconds; undefined if the upstream does not report it. */
  readonly mediaDurationSec?: number | undefined;
  /** Number of upstream requests. */
  readonly attempts: number;
  /** Time of each phase. */
  readonly timings: Timings;
  /**
   * Kind of upstream: "twelvelabs", "sandbox" or "custom". Vectors of the sandbox are synthetic; do not store them in a
   * production index.
   */
  readonly upstream: string;
  /** Failure of the input; undefined means success. */
  readonly failure?: Failure | undefined;
  /** Id of the call in the server's log. */
  readonly requestId: string;
  /** Number of input tokens by kind of content, for instance "audio", as reported by the upstream. */
  readonly inputTokens: Readonly<Record<string, number>>;
  /** Identifier of the upstream's task; empty if there was none. */
  readonly upstreamTaskId: string;
  /** Whether the server reused a result; undefined if it does not reuse results of such inputs. */
  readonly cacheStatus?: CacheStatus | undefined;
}

/** A new stage of one input, before its first segment, if the upstream processes it as an asset or as a task. */
export interface Progress {
  readonly type: "progress";
  /** Position of the input in the request, from 0; in {@link Client.map}, its position in the iterator. */
  readonly inputIndex: number;
  /** Key of the input. */
  readonly inputKey: string;
  /**
   * Stage that has begun: "uploading", the file is sent to the upstream; "preparing", the upstream prepares the file;
   * "processing", the upstream computes the embeddings in a task. A stage may be repeated.
   */
  readonly stage: Stage;
  /**
   * Identifier of the upstream's task, from the stage "processing" on, else empty. With it, a {@link TaskSource} gets
   * the result, also if this call ends before.
   */
  readonly upstreamTaskId: string;
}

/** An event of a stream; `type` distinguishes the kinds. A later version may add kinds. */
export type Event = Segment | Result | Progress;

/** The result and the segments of one input. */
export class Embedding {
  /** Made by the client. */
  constructor(
    /** Result of the input. */
    readonly result: Result,
    /** Segments in order; none if the input failed. */
    readonly segments: readonly Segment[],
  ) {}

  /** Failure of the input; undefined means success. */
  get failure(): Failure | undefined {
    return this.result.failure;
  }

  /**
   * Vector of an input with one segment, such as a text or an image.
   *
   * @throws EmbedwireError - the input failed.
   * @throws RangeError - there are several segments, as audio has them.
   */
  get vector(): Float32Array {
    const { failure, requestId, attempts } = this.result;
    if (failure !== undefined) throw errorOf(failure, requestId, attempts);
    const [first, ...more] = this.segments;
    if (first === undefined || more.length > 0) {
      throw new RangeError(`the input has ${this.segments.length.toString()} segments; use segments`);
    }
    return first.vector;
  }
}

/** The texts that a model accepts. */
export interface TextSupport {
  /** Maximum length in tokens, for information: the upstream's tokenizer is not public. */
  readonly maxTokens: number;
  /** Supported values of {@link TextInput.truncate}. */
  readonly truncates: readonly string[];
  /** Maximum length in bytes of UTF-8 that the server accepts. */
  readonly maxBytes: number;
}

/** The images that a model accepts. */
export interface ImageSupport {
  /** Accepted media types, for instance "image/png". */
  readonly mediaTypes: readonly string[];
  /** Maximum file size in bytes. */
  readonly maxBytes: number;
  /** Minimum width and height in pixels. */
  readonly minSidePx: number;
}

/** The range of the duration of a segmentation, both ends included. */
export interface SegmentationRange {
  /** Minimum in seconds. */
  readonly minSec: number;
  /** Maximum in seconds. */
  readonly maxSec: number;
}

/** The audio files that a model accepts. */
export interface AudioSupport {
  /** Accepted media types, for instance "audio/mpeg". */
  readonly mediaTypes: readonly string[];
  /** Maximum file size in bytes. */
  readonly maxBytes: number;
  /** Maximum duration in seconds with the processing mode "sync"; 0 if it is not known. */
  readonly maxSyncDurationSec: number;
  /** Maximum duration in seconds in any mode; 0 if it is not known. */
  readonly maxDurationSec: number;
  /** Supported values of {@link AudioOptions.embeddingOptions}; empty if they cannot be selected. */
  readonly embeddingOptions: readonly string[];
  /** Supported values of {@link AudioOptions.embeddingScopes}. */
  readonly embeddingScopes: readonly string[];
  /** Supported values of {@link AudioOptions.embeddingTypes}. */
  readonly embeddingTypes: readonly string[];
  /** Range of the duration of a {@link FixedSegmentation}; undefined if unsupported. */
  readonly fixedSegmentation?: SegmentationRange | undefined;
  /** Range of the minimum duration of a {@link DynamicSegmentation}; undefined if unsupported. */
  readonly dynamicSegmentation?: SegmentationRange | undefined;
  /** Supported values of {@link AudioOptions.processingMode}. */
  readonly processingModes: readonly string[];
}

/** The inputs and outputs of one model. */
export interface Model {
  /** Name for requests. */
  readonly name: string;
  /** Other accepted names. */
  readonly aliases: readonly string[];
  /** Length of each vector. Vectors of different models are not comparable. */
  readonly dimensions: number;
  /** Accepted texts; undefined if the model accepts none. */
  readonly text?: TextSupport | undefined;
  /** Accepted images; undefined if the model accepts none. */
  readonly image?: ImageSupport | undefined;
  /** Accepted audio files; undefined if the model accepts none. */
  readonly audio?: AudioSupport | undefined;
  /** Supported values of {@link CallOptions.dimensions}, in ascending order. */
  readonly supportedDimensions: readonly number[];
  /** Whether the model returns {@link Segment.uncertainty}. */
  readonly supportsUncertainty: boolean;
  /** Kinds of upstream that have the model, as in {@link Result.upstream}; empty if it is not known. */
  readonly upstreams: readonly string[];
}
