/** Messages to values: events, results, models; and all events of a call to embeddings. */

import { codeName, milliseconds } from "./details.js";
import { type Failure, broken, reasonName } from "./errors.js";
import * as pb from "./generated/embedwire/v1/embedding_pb.js";
import { Embedding, type Event, type Model, type Result, type Segment } from "./results.js";
import { decode } from "./vectors.js";

/** The answers of both streams, which have the same events. */
export type Response = pb.CreateEmbeddingResponse | pb.CreateEmbeddingFromUploadResponse;

const TRUNCATES: Record<number, string> = {
  [pb.Truncate.NONE]: "none",
  [pb.Truncate.START]: "start",
  [pb.Truncate.END]: "end",
};

/** One event; undefined for one that this client does not know, which the contract tells it to ignore. */
export function event({ event }: Response, requestId: string): Event | undefined {
  switch (event.case) {
    case "segment":
      return segment(event.value, requestId);
    case "result":
      return result(event.value, requestId);
    default:
      return undefined;
  }
}

/** The whole answer of a unary call, in the order of the request. */
export function unary(message: pb.CreateEmbeddingUnaryResponse, inputs: number, requestId: string): Embedding[] {
  const { embeddings } = message;
  if (embeddings.length !== inputs) {
    throw broken(`the server answered ${String(embeddings.length)} of ${String(inputs)} inputs`, requestId);
  }
  return embeddings.map((item, index) => {
    if (item.result === undefined) throw broken(`the server sent no result for inputs[${String(index)}]`, requestId);
    const ended = result(item.result, requestId);
    const segments = ended.failure === null ? item.segments.map((each) => segment(each, requestId)) : [];
    return new Embedding(ended, segments);
  });
}

/** Collects the events of a call and drops the segments of inputs that failed. */
export class Collector {
  readonly #segments: Segment[][];
  readonly #results: (Result | undefined)[];
  readonly #requestId: string;

  constructor(inputs: number, requestId: string) {
    this.#segments = Array.from({ length: inputs }, () => []);
    this.#results = Array.from({ length: inputs });
    this.#requestId = requestId;
  }

  /** Take one event. */
  add(event: Event): void {
    const segments = this.#segments[event.inputIndex];
    if (segments === undefined) {
      throw broken(`the server answered inputs[${String(event.inputIndex)}], which does not exist`, this.#requestId);
    }
    if (event.type === "segment") segments.push(event);
    else this.#results[event.inputIndex] = event;
  }

  /** One for each input, in the order of the request; the contract forbids that an input has no result. */
  embeddings(): Embedding[] {
    return this.#segments.map((segments, index) => {
      const ended = this.#results[index];
      if (ended === undefined) {
        throw broken(`the server ended the call without a result for inputs[${String(index)}]`, this.#requestId);
      }
      return new Embedding(ended, ended.failure === null ? segments : []);
    });
  }
}

/** What one model accepts and returns. Sizes are far below the 2^53 from which a number would be inexact. */
export function model({ name, aliases, dimensions, text, image, audio }: pb.Model): Model {
  return {
    name,
    aliases,
    dimensions,
    text: text
      ? {
          maxTokens: text.maxTokens,
          truncates: text.truncates.map((item) => TRUNCATES[item] ?? String(item)),
          maxBytes: Number(text.maxBytes),
        }
      : null,
    image: image
      ? { mediaTypes: image.mediaTypes, maxBytes: Number(image.maxBytes), minSidePx: image.minSidePx }
      : null,
    audio: audio ? { mediaTypes: audio.mediaTypes, maxBytes: Number(audio.maxBytes) } : null,
  };
}

function segment(message: pb.Segment, requestId: string): Segment {
  const audio = message.modality.case === "audio" ? message.modality.value : undefined;
  return {
    type: "segment",
    inputIndex: message.inputIndex,
    inputKey: message.inputKey,
    segmentIndex: message.segmentIndex,
    modality: message.modality.case ?? "unknown",
    vector: vector(message.vector, requestId),
    startOffsetSec: audio?.startOffsetSec ?? null,
    endOffsetSec: audio?.endOffsetSec ?? null,
    embeddingOption: audio?.embeddingOption ?? "",
  };
}

function vector(message: pb.Vector | undefined, requestId: string): Float32Array {
  try {
    return message === undefined ? new Float32Array() : decode(message);
  } catch {
    throw broken("the server sent a vector that cannot be read", requestId);
  }
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
    inputUrl: metadata?.origin.case === "inputUrl" ? metadata.origin.value : null,
    inputFilename: metadata?.origin.case === "inputFilename" ? metadata.origin.value : null,
    truncated: message.truncated ?? null,
    mediaDurationSec: message.mediaDurationSec ?? null,
    attempts: message.attempts,
    timings: {
      queueMs: milliseconds(timings?.queue) ?? 0,
      uploadMs: milliseconds(timings?.upload) ?? 0,
      upstreamMs: milliseconds(timings?.upstream) ?? 0,
      decodeMs: milliseconds(timings?.decode) ?? 0,
    },
    upstream: message.upstream,
    failure: message.failure === undefined ? null : failure(message.failure),
    requestId,
  };
}

function failure(message: pb.Failure): Failure {
  const said = message.upstreamError;
  return {
    code: codeName(message.code),
    reason: reasonName(message.reason),
    message: message.message,
    violations: message.fieldViolations.map(({ field, description }) => ({ field, description })),
    retryDelayMs: milliseconds(message.retryDelay),
    quotas: message.quotaViolations.map(({ subject, description }) => ({ subject, description })),
    upstream: said
      ? {
          httpStatus: said.httpStatus,
          code: said.code,
          message: said.message,
          docsUrl: said.docsUrl,
          rateLimitHeaders: { ...said.rateLimitHeaders },
        }
      : null,
    cause: message.cause,
  };
}
