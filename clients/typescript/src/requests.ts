/** Inputs to messages: what travels in the request, what is uploaded, and the messages of an upload. */

import { create } from "@bufbuild/protobuf";

import type { CallOptions } from "./connection.js";
import * as files from "./files.js";
import * as pb from "./generated/embedwire/v1/embedding_pb.js";
import { type FileSource, type Input, fileOf } from "./inputs.js";

/** Above this, files are uploaded in chunks; the contract recommends it. */
const INLINE_BYTES = 1 << 20;
/** What one message may hold, less room for everything else in it. */
const MESSAGE_BYTES = (16 << 20) - (1 << 20);
const CHUNK_BYTES = 256 << 10;
const LARGEST_UINT32 = 2 ** 32 - 1;

const TRUNCATES = { none: pb.Truncate.NONE, start: pb.Truncate.START, end: pb.Truncate.END };
const ENCODINGS = { float32_le: pb.VectorEncoding.FLOAT32_LE, float_values: pb.VectorEncoding.FLOAT_VALUES };

type Source = pb.MediaSource["source"];

/** What a request says beside its inputs. */
export interface Header {
  readonly modelName: string;
  readonly vectorEncoding: pb.VectorEncoding;
  readonly maxRetries?: number;
}

/** A request and the files that follow it in chunks, by input index. */
export interface Plan {
  readonly request: pb.CreateEmbeddingRequest;
  readonly uploads: ReadonlyMap<number, FileSource>;
  readonly chunkBytes: number;
}

/**
 * What a request says beside its inputs.
 *
 * @throws TypeError - an option cannot be meant.
 */
export function header(modelName: string, { maxRetries, encoding = "float32_le", chunkBytes }: CallOptions): Header {
  if (typeof modelName !== "string") throw new TypeError("model: must be a string");
  if (maxRetries !== undefined && !isWithin(maxRetries, 0, LARGEST_UINT32)) {
    throw new TypeError("maxRetries: must be a whole number, 0 or more");
  }
  if (chunkBytes !== undefined && !isWithin(chunkBytes, 1, MESSAGE_BYTES)) {
    throw new TypeError(`chunkBytes: must be 1 to ${String(MESSAGE_BYTES)}`);
  }
  if (!Object.hasOwn(ENCODINGS, encoding)) throw new TypeError('encoding: must be "float32_le" or "float_values"');
  return { modelName, vectorEncoding: ENCODINGS[encoding], ...(maxRetries !== undefined && { maxRetries }) };
}

/**
 * Decide for each file whether it travels in the request.
 *
 * @throws Error - of Node.js: a path is no file that can be read.
 */
export async function plan(header: Header, inputs: readonly Input[], chunkBytes = CHUNK_BYTES): Promise<Plan> {
  const uploads = new Map<number, FileSource>();
  const messages: pb.Input[] = [];
  let room = INLINE_BYTES;
  for (const [index, input] of inputs.entries()) {
    const file = fileOf(input);
    if (file === undefined || file.url !== undefined) {
      messages.push(message(input, remote(file)));
      continue;
    }
    const size = await files.size(file);
    if (size !== undefined && size <= room) {
      room -= size;
      messages.push(message(input, await inline(file, size)));
    } else {
      uploads.set(index, file);
      messages.push(message(input, announced(file, size)));
    }
  }
  return { request: create(pb.CreateEmbeddingRequestSchema, { ...header, inputs: messages }), uploads, chunkBytes };
}

/**
 * Put everything into one message.
 *
 * @throws Error - of Node.js: a path is no file that can be read.
 * @throws TypeError - the files do not fit, or the size of one cannot be known before it is read.
 */
export async function unary(header: Header, inputs: readonly Input[]): Promise<pb.CreateEmbeddingUnaryRequest> {
  const messages: pb.Input[] = [];
  let room = MESSAGE_BYTES;
  for (const [index, input] of inputs.entries()) {
    const file = fileOf(input);
    const size = file === undefined || file.url !== undefined ? 0 : await files.size(file);
    if (size === undefined || size > room) {
      const most = String(MESSAGE_BYTES);
      throw new TypeError(`inputs[${String(index)}]: a unary call has room for files of ${most} bytes; use embed()`);
    }
    room -= size;
    messages.push(
      message(input, file === undefined || file.url !== undefined ? remote(file) : await inline(file, size)),
    );
  }
  return create(pb.CreateEmbeddingUnaryRequestSchema, { ...header, inputs: messages });
}

/** The first message of an upload. */
export function first(request: pb.CreateEmbeddingRequest): pb.CreateEmbeddingFromUploadRequest {
  return create(pb.CreateEmbeddingFromUploadRequestSchema, { payload: { case: "request", value: request } });
}

/** Every other message of an upload. */
export function chunk(inputIndex: number, data?: Uint8Array): pb.CreateEmbeddingFromUploadRequest {
  const value = create(pb.UploadChunkSchema, { inputIndex, ...(data === undefined ? { last: true } : { data }) });
  return create(pb.CreateEmbeddingFromUploadRequestSchema, { payload: { case: "chunk", value } });
}

function message(input: Input, source: Source): pb.Input {
  const key = input.key ?? "";
  if ("text" in input) {
    const truncate = input.truncate === undefined ? pb.Truncate.UNSPECIFIED : TRUNCATES[input.truncate];
    return create(pb.InputSchema, { key, modality: { case: "text", value: { value: input.text, truncate } } });
  }
  if ("image" in input)
    return create(pb.InputSchema, { key, modality: { case: "image", value: { source: { source } } } });
  const { startOffsetSec } = input.audio;
  const value = { source: { source }, ...(startOffsetSec !== undefined && { startOffsetSec }) };
  return create(pb.InputSchema, { key, modality: { case: "audio", value } });
}

function remote(file: FileSource | undefined): Source {
  return file?.url === undefined ? { case: undefined } : { case: "url", value: String(file.url) };
}

async function inline(file: FileSource, size: number): Promise<Source> {
  const data = await files.readWhole(file, size);
  return { case: "file", value: create(pb.FileSourceSchema, { data, ...described(file) }) };
}

function announced(file: FileSource, size: number | undefined): Source {
  const sizeBytes = size === undefined ? {} : { sizeBytes: BigInt(size) };
  return { case: "upload", value: create(pb.UploadSourceSchema, { ...described(file), ...sizeBytes }) };
}

function described(file: FileSource): { fileName: string; mediaType: string } {
  return { fileName: files.name(file), mediaType: files.mediaType(file) };
}

function isWithin(value: number, least: number, most: number): boolean {
  return Number.isInteger(value) && value >= least && value <= most;
}
