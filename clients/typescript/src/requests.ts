/** Encode inputs to messages, and decide which files are sent in the request and which are uploaded. */

import { create } from "@bufbuild/protobuf";

import * as files from "./files.js";
import type { Segmentation } from "./audio.js";
import * as pb from "./generated/embedwire/v1/embedding_pb.js";
import {
  type AudioInput,
  type FileSource,
  type Input,
  type TaskSource,
  type TextInput,
  fileOf,
  given,
} from "./inputs.js";
import type { CallOptions } from "./options.js";

/** Files of more bytes are uploaded in chunks, as the contract recommends. */
export const INLINE_BYTES = 1 << 20;
const CHUNK_BYTES = 256 << 10;
/** Maximum number of segments in one message. Large messages make long audio cheaper to read. */
const SEGMENTS_PER_MESSAGE = 100;

const PROCESSING_MODES = { sync: pb.ProcessingMode.SYNC, task: pb.ProcessingMode.TASK };
const TRUNCATES = { none: pb.Truncate.NONE, start: pb.Truncate.START, end: pb.Truncate.END };
const ENCODINGS = { float32_le: pb.VectorEncoding.FLOAT32_LE, float_values: pb.VectorEncoding.FLOAT_VALUES };

type Source = pb.MediaSource["source"];

/** The fields of a request except its inputs. */
export interface Header {
  readonly modelName: string;
  readonly vectorEncoding: pb.VectorEncoding;
  readonly maxRetries?: number;
  readonly dimensions?: number;
  readonly includeUncertainty: boolean;
}

/** An encoded input, and its file if it is uploaded after the request. */
export interface Encoded {
  readonly message: pb.Input;
  readonly upload?: FileSource;
}

/** A request and the files that follow it in chunks, by input index. */
export interface Plan {
  readonly request: pb.CreateEmbeddingRequest;
  readonly uploads: ReadonlyMap<number, FileSource>;
  readonly chunkBytes: number;
}

/** Return the fields of a request except its inputs. */
export function header(modelName: string, options: CallOptions): Header {
  if (typeof modelName !== "string") throw new TypeError("model: must be a string");
  const { maxRetries, encoding = "float32_le", dimensions, includeUncertainty = false } = options;
  return {
    modelName,
    vectorEncoding: ENCODINGS[encoding],
    ...(maxRetries !== undefined && { maxRetries }),
    ...(dimensions !== undefined && { dimensions }),
    includeUncertainty,
  };
}

/**
 * Encode inputs, and decide for each file whether it is sent in the request.
 *
 * @throws Error - of Node.js: a path is not a readable file.
 */
export async function plan(header: Header, inputs: readonly Input[], chunkBytes?: number): Promise<Plan> {
  const encoded: Encoded[] = [];
  let room = INLINE_BYTES;
  for (const input of inputs) {
    const fileBytes = await files.bytes(fileOf(input));
    const isInline = fileBytes <= room;
    encoded.push(await encode(input, fileBytes, isInline));
    if (isInline) room -= fileBytes;
  }
  return planOf(header, encoded, chunkBytes);
}

/**
 * Encode one input.
 *
 * @param fileBytes - as `files.bytes` measured them.
 * @throws Error - of Node.js: the file cannot be read.
 */
export async function encode(input: Input, fileBytes: number, isInline: boolean): Promise<Encoded> {
  const { name, value } = given(input);
  if (name === "text") return { message: textMessage(value) };
  const file = fileOf(input);
  if (file === undefined) return { message: mediaMessage(input, reference(value)) };
  if (isInline) return { message: mediaMessage(input, await inline(file, fileBytes)) };
  return { message: mediaMessage(input, announced(file, fileBytes)), upload: file };
}

/** Return the plan of a call with encoded inputs. */
export function planOf(header: Header, encoded: readonly Encoded[], chunkBytes = CHUNK_BYTES): Plan {
  const uploads = new Map<number, FileSource>();
  for (const [index, { upload }] of encoded.entries()) if (upload !== undefined) uploads.set(index, upload);
  const inputs = encoded.map(({ message }) => message);
  const request = { ...header, inputs, maxSegmentsPerMessage: SEGMENTS_PER_MESSAGE };
  return { request: create(pb.CreateEmbeddingRequestSchema, request), uploads, chunkBytes };
}

/** Return a unary request for one text. */
export function unary(header: Header, input: TextInput): pb.CreateEmbeddingUnaryRequest {
  return create(pb.CreateEmbeddingUnaryRequestSchema, { ...header, inputs: [textMessage(input)] });
}

/** Return the first message of an upload. */
export function first(request: pb.CreateEmbeddingRequest): pb.CreateEmbeddingFromUploadRequest {
  return create(pb.CreateEmbeddingFromUploadRequestSchema, { payload: { case: "request", value: request } });
}

/** Return a chunk of an upload; without data, the last one. */
export function chunk(inputIndex: number, data?: Uint8Array): pb.CreateEmbeddingFromUploadRequest {
  const value = create(pb.UploadChunkSchema, { inputIndex, ...(data === undefined ? { last: true } : { data }) });
  return create(pb.CreateEmbeddingFromUploadRequestSchema, { payload: { case: "chunk", value } });
}

function textMessage({ text, truncate: end, key = "" }: TextInput): pb.Input {
  const truncate = end === undefined ? pb.Truncate.UNSPECIFIED : TRUNCATES[end];
  return create(pb.InputSchema, { key, modality: { case: "text", value: { value: text, truncate } } });
}

function mediaMessage(input: Input, source: Source): pb.Input {
  const { name, value } = given(input);
  const modality =
    name === "audio"
      ? { case: name, value: audioMessage(value, source) }
      : { case: "image" as const, value: { source: { source } } };
  return create(pb.InputSchema, { key: input.key ?? "", modality });
}

function audioMessage(audio: AudioInput["audio"], source: Source): pb.AudioInput {
  const { startOffsetSec, endOffsetSec, segmentation, processingMode } = audio;
  return create(pb.AudioInputSchema, {
    source: { source },
    ...(startOffsetSec !== undefined && { startOffsetSec }),
    ...(endOffsetSec !== undefined && { endOffsetSec }),
    ...(segmentation !== undefined && { segmentation: { method: method(segmentation) } }),
    embeddingOptions: [...(audio.embeddingOptions ?? [])],
    embeddingScopes: [...(audio.embeddingScopes ?? [])],
    embeddingTypes: [...(audio.embeddingTypes ?? [])],
    processingMode: processingMode === undefined ? pb.ProcessingMode.UNSPECIFIED : PROCESSING_MODES[processingMode],
  });
}

function method({ fixed, dynamic }: Segmentation): pb.Segmentation["method"] {
  return fixed === undefined
    ? { case: "dynamic", value: create(pb.DynamicSegmentationSchema, dynamic) }
    : { case: "fixed", value: create(pb.FixedSegmentationSchema, fixed) };
}

/** Return a source whose content this client does not send. */
function reference({ url, assetId, taskId = "" }: FileSource | TaskSource): Source {
  if (url !== undefined) return { case: "url", value: String(url) };
  if (assetId !== undefined) return { case: "asset", value: create(pb.AssetSourceSchema, { id: assetId }) };
  return { case: "task", value: create(pb.TaskSourceSchema, { id: taskId }) };
}

async function inline(file: FileSource, size: number): Promise<Source> {
  const data = await files.readWhole(file, size);
  return { case: "file", value: create(pb.FileSourceSchema, { data, ...described(file) }) };
}

function announced(file: FileSource, size: number): Source {
  const sizeBytes = Number.isFinite(size) ? { sizeBytes: BigInt(size) } : {};
  return { case: "upload", value: create(pb.UploadSourceSchema, { ...described(file), ...sizeBytes }) };
}

function described(file: FileSource): { fileName: string; mediaType: string } {
  return { fileName: files.name(file), mediaType: files.mediaType(file) };
}
