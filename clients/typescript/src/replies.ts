/** Decode messages to events, results and models, and collect the events of a call to embeddings. */

import { failure, milliseconds } from "./details.js";
import { type EmbedwireError, errorOf, invalidResponse } from "./errors.js";
import * as pb from "./generated/embedwire/v1/embedding_pb.js";
import { Embedding, type Event, type Modality, type Model, type Result, type Segment } from "./results.js";
import { decode } from "./vectors.js";

/** The response messages of both streams, which have the same events. */
export type Response = pb.CreateEmbeddingResponse | pb.CreateEmbeddingFromUploadResponse;

const TRUNCATES: Record<number, string> = {
  [pb.Truncate.NONE]: "none",
  [pb.Truncate.START]: "start",
  [pb.Truncate.END]: "end",
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

/** Collects the events of a call, and discards the segments of failed inputs. */
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
    if (event.type === "segment") {
      segments.push(event);
      return undefined;
    }
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
export function model({ name, aliases, dimensions, text, image, audio }: pb.Model): Model {
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
    audio: audio && { mediaTypes: audio.mediaTypes, maxBytes: Number(audio.maxBytes) },
  };
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
  };
}
