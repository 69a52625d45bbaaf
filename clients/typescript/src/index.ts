/**
 * The client of an Embedwire server, which embeds text, images and audio, and streams the vectors as they are decoded.
 *
 * @packageDocumentation
 */

export { Client, DEFAULT_TARGET } from "./client.js";
export type { EventStream } from "./events.js";
export type { AudioOptions, DynamicSegmentation, FixedSegmentation, ProcessingMode, Segmentation } from "./audio.js";
export type {
  CallOptions,
  ClientOptions,
  EmbedOptions,
  Encoding,
  MapOptions,
  ProgressOptions,
  TLS,
} from "./options.js";
export {
  ClosedError,
  DeadlineExceededError,
  EmbedwireError,
  type Failure,
  type FieldViolation,
  GatewayError,
  type QuotaViolation,
  RefusedError,
  RequestError,
  TransportError,
  UpstreamError,
  type UpstreamReply,
} from "./errors.js";
export type {
  AudioInput,
  ByteStream,
  FileDescription,
  FileSource,
  ImageInput,
  Input,
  TaskSource,
  TextInput,
  Truncate,
} from "./inputs.js";
export {
  type AudioSupport,
  type CacheStatus,
  Embedding,
  type Event,
  type ImageSupport,
  type Modality,
  type Model,
  type Progress,
  type Result,
  type Segment,
  type SegmentationRange,
  type Stage,
  type TextSupport,
  type Timings,
} from "./results.js";
export type { Stream } from "./stream.js";
export { VERSION } from "./version.js";
