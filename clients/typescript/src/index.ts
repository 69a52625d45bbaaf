/**
 * The client of an Embedwire server, which embeds text, images and audio, and streams the vectors as they are decoded.
 *
 * @packageDocumentation
 */

export { Client, DEFAULT_TARGET } from "./client.js";
export type { EventStream } from "./events.js";
export type { CallOptions, ClientOptions, Encoding, MapOptions, TLS } from "./options.js";
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
  TextInput,
  Truncate,
} from "./inputs.js";
export {
  type AudioSupport,
  Embedding,
  type Event,
  type ImageSupport,
  type Modality,
  type Model,
  type Result,
  type Segment,
  type TextSupport,
  type Timings,
} from "./results.js";
export type { Stream } from "./stream.js";
export { VERSION } from "./version.js";
