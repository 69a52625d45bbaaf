/** Decode messages to events, results and models, and collect the events of a call to embeddings. */

import { failure, milliseconds } from "./details.js";
import { type EmbedwireError, errorOf, invalidResponse } from "./errors.js";
import * as pb from "./generated/embedwire/v1/embedding_pb.js";
import {
  type AudioSupport,
  type CacheStatus,
  Embedding,
  type Event,
  type Modality,
  type Model,
  type Progress,
  type Result,
  type Segment,
  type SegmentationRange,
  type Stage,
} from "./results.js";
import { decode } from "./vectors.js";

/** The response messages of both streams, which have the same events. */
export type Response = pb.CreateEmbeddingResponse | pb.CreateEmbeddingFromUploadResponse;

const TRUNCATES: Record<number, string> = {
  [pb.Truncate.NONE]: "none",
  [pb.Truncate.START]: "start",
  [pb.Truncate.END]: "end",
};
const STAGES: Record<number, Stage> = {
  [pb.ProgressStage.UPLOADING]: "uploading",
  [pb.ProgressStage.PREPARING]: "preparing",
  [pb.ProgressStage.PROCESSING]: "processing",
};
const CACHE_STATUSES: Record<number, CacheStatus | undefined> = {
  [pb.CacheStatus.UNSPECIFIED]: undefined,
  [pb.CacheStatus.HIT]: "hit",
  [pb.CacheStatus.COALESCED]: "coalesced",
  [pb.CacheStatus.MISS]: "miss",
};
const PROCESSING_MODES: Record<number, string> = {
  [pb.ProcessingMode.SYNC]: "sync",
  [pb.ProcessingMode.TASK]: "task",
};

/**
 * Yield the events of a message. Unknown events are skipped, as the contract requires.
 *
 * @throws GatewayError - a vector is invalid.
 */
export function* eventsOf(message: Response, requestId: string): Generator<Event, void, undefined> {
  for (const { event } of message.events) {
    if (event.case === "segment") yield segment(event.value, requestId);
    else if (event.case === "result") yield result(event.value, requestId);
    else if (event.case === "progress") yield progress(event.value);
  }
}

/**
 * Decode the response to a unary call with one input.
 *
 * @throws GatewayError - the response does not have exactly one result.
 */
export function onlyEmbedding(message: pb.CreateEmbeddingUnaryResponse, requestId: string): Embedding {
  const [item] = message.embeddings;
  if (message.embeddings.length !== 1 || item?.result === undefined) {
    throw invalid("the server sent no result for inputs[0]", requestId);
  }
  const segments = item.segments.map((each) => segment(each, requestId));
  return embedding(result(item.result, requestId), segments);
}

/** Collects the events of a call. Discards the segments of failed inputs, and progress. */
export class Collector {
  readonly #segments: Segment[][];
  readonly #embeddings: (Embedding | undefined)[];
  readonly #requestId: string;

  constructor(inputs: number, requestId: string) {
    this.#segments = Array.from({ length: inputs }, () => []);
    this.#embeddings = Array.from({ length: inputs });
    this.#requestId = requestId;
  }

  /**
   * Add an event. Returns the embedding that it completes.
   *
   * @throws GatewayError - the event belongs to no input of the call.
   */
  add(event: Event): Embedding | undefined {
    const segments = this.#segments[event.inputIndex];
    if (segments === undefined) {
      throw invalid(
        `the server sent an event of inputs[${String(event.inputIndex)}], which is not in the request`,
        this.#requestId,
      );
    }
    if (event.type === "segment") segments.push(event);
    if (event.type !== "result") return undefined;
    return (this.#embeddings[event.inputIndex] = embedding(event, segments));
  }

  /**
   * Return one embedding for each input, in the order of the request.
   *
   * @throws GatewayError - an input has no result, which violates the contract.
   */
  embeddings(): Embedding[] {
    return this.#embeddings.map((found, index) => {
      if (found !== undefined) return found;
      throw invalid(`the server ended the call without a result for inputs[${String(index)}]`, this.#requestId);
    });
  }
}

/** Decode a model. Sizes are far below 2^53, so numbers are exact. */
export function model(message: pb.Model): Model {
  const { name, aliases, dimensions, text, image, audio } = message;
  return {
    name,
    aliases,
    dimensions,
    text: text && {
      maxTokens: text.maxTokens,
      truncates: text.truncates.map((item) => TRUNCATES[item] ?? String(item)),
      maxBytes: Number(text.maxBytes),
    },
    image: image && { mediaTypes: image.mediaTypes, maxBytes: Number(image.maxBytes), minSidePx: image.minSidePx },
    audio: audio && audioSupport(audio),
    supportedDimensions: message.supportedDimensions,
    supportsUncertainty: message.supportsUncertainty,
    upstreams: message.upstreams,
  };
}

function audioSupport(audio: pb.AudioSupport): AudioSupport {
  return {
    mediaTypes: audio.mediaTypes,
    maxBytes: Number(audio.maxBytes),
    maxSyncDurationSec: audio.maxSyncDurationSec,
    maxDurationSec: audio.maxDurationSec,
    embeddingOptions: audio.embeddingOptions,
    embeddingScopes: audio.embeddingScopes,
    embeddingTypes: audio.embeddingTypes,
    fixedSegmentation: range(audio.fixedSegmentation),
    dynamicSegmentation: range(audio.dynamicSegmentation),
    processingModes: audio.processingModes.map((item) => PROCESSING_MODES[item] ?? String(item)),
  };
}

function range(message: pb.SegmentationRange | undefined): SegmentationRange | undefined {
  return message && { minSec: message.minSec, maxSec: message.maxSec };
}

function embedding(ended: Result, segments: readonly Segment[]): Embedding {
  return new Embedding(ended, ended.failure === undefined ? segments : []);
}

function invalid(message: string, requestId: string): EmbedwireError {
  return errorOf(invalidResponse(message), requestId);
}

function segment(message: pb.Segment, requestId: string): Segment {
  const audio = message.modality.case === "audio" ? message.modality.value : undefined;
  return {
    type: "segment",
    inputIndex: message.inputIndex,
    inputKey: message.inputKey,
    segmentIndex: message.segmentIndex,
    modality: modality(message.modality.case),
    vector: vector(message.vector, requestId),
    startOffsetSec: audio?.startOffsetSec,
    endOffsetSec: audio?.endOffsetSec,
    embeddingOption: audio?.embeddingOption ?? "",
    embeddingScope: audio?.embeddingScope ?? "",
    uncertainty: message.uncertainty && vector(message.uncertainty, requestId),
  };
}

/** Return the modality; "unknown" for one of a later contract. */
function modality(name: string | undefined): Modality {
  return name === "text" || name === "image" || name === "audio" ? name : "unknown";
}

function vector(message: pb.Vector | undefined, requestId: string): Float32Array {
  try {
    if (message !== undefined) return decode(message);
  } catch {
    // The error below replaces it.
  }
  throw invalid("the server sent a vector that cannot be read", requestId);
}

function progress({ inputIndex, inputKey, stage, upstreamTaskId }: pb.InputProgress): Progress {
  return { type: "progress", inputIndex, inputKey, stage: STAGES[stage] ?? "unknown", upstreamTaskId };
}

function result(message: pb.InputResult, requestId: string): Result {
  const { metadata, timings } = message;
  return {
    type: "result",
    inputIndex: message.inputIndex,
    inputKey: message.inputKey,
    modelName: message.modelName,
    dimensions: message.dimensions,
    segmentCount: message.segmentCount,
    inputUrl: metadata?.origin.case === "inputUrl" ? metadata.origin.value : undefined,
    inputFilename: metadata?.origin.case === "inputFilename" ? metadata.origin.value : undefined,
    truncated: message.truncated,
    mediaDurationSec: message.mediaDurationSec,
    attempts: message.attempts,
    timings: {
      queueMs: milliseconds(timings?.queue) ?? 0,
      uploadMs: milliseconds(timings?.upload) ?? 0,
      upstreamMs: milliseconds(timings?.upstream) ?? 0,
      decodeMs: milliseconds(timings?.decode) ?? 0,
    },
    upstream: message.upstream,
    failure: message.failure && failure(message.failure),
    requestId,
    // Numbers of tokens are far below 2^53, so numbers are exact.
    inputTokens: Object.fromEntries(Object.entries(message.inputTokens).map(([kind, count]) => [kind, Number(count)])),
    upstreamTaskId: message.upstreamTaskId,
    cacheStatus: message.cacheStatus in CACHE_STATUSES ? CACHE_STATUSES[message.cacheStatus] : "unknown",
  };
}
