/** The inputs. The source of a file is explicit, never guessed from a string. */

import { Readable } from "node:stream";

/** End of a too long text that is cut off; with "none" the text fails. */
export type Truncate = "none" | "start" | "end";

/** A text to embed. It yields one segment. */
export interface TextInput {
  /** The text; not empty, at most 64 KiB of UTF-8 unless the server is configured otherwise. */
  readonly text: string;
  /** End to cut off if the text is too long; by default the upstream decides. See {@link TextSupport.truncates}. */
  readonly truncate?: Truncate | undefined;
  /** A string of at most 256 bytes of UTF-8, which is returned with each event of this input. */
  readonly key?: string | undefined;
}

/** Bytes in chunks of any size: a Node.js stream, a web stream, or another async iterable. */
export type ByteStream = AsyncIterable<Uint8Array>;

/** The description of a file. */
export interface FileDescription {
  /** File name, which is returned as metadata; by default that of the path, or of a `File`. */
  readonly fileName?: string | undefined;
  /** Media type, for instance "audio/mpeg"; by default that of a `Blob`, or derived from the file name. */
  readonly mediaType?: string | undefined;
}

/**
 * The source of the bytes of a file: exactly one of `url`, `path`, `data` and `stream`.
 *
 * Files of together at most 1 MiB are sent in the request. All other files, and all streams, are uploaded in chunks and
 * never held in memory as a whole.
 */
export type FileSource = FileDescription &
  (
    | {
        /** An absolute http or https URL of the raw file, which the upstream fetches. */
        readonly url: string | URL;
        readonly path?: undefined;
        readonly data?: undefined;
        readonly stream?: undefined;
      }
    | {
        /** A local file, as a path or a file URL. It is opened immediately before it is sent. */
        readonly path: string | URL;
        readonly url?: undefined;
        readonly data?: undefined;
        readonly stream?: undefined;
      }
    | {
        /** The bytes of the file. */
        readonly data: Uint8Array | Blob;
        readonly url?: undefined;
        readonly path?: undefined;
        readonly stream?: undefined;
      }
    | {
        /** The bytes as a stream. It is read to its end, or destroyed if the call ends before. */
        readonly stream: ByteStream;
        readonly url?: undefined;
        readonly path?: undefined;
        readonly data?: undefined;
      }
  );

/** An image to embed. It yields one segment. {@link Model.image} lists the formats that a model accepts. */
export interface ImageInput {
  /** Source of the image. */
  readonly image: FileSource;
  /** A string of at most 256 bytes of UTF-8, which is returned with each event of this input. */
  readonly key?: string | undefined;
}

/** An audio file to embed. It yields segments over time. {@link Model.audio} lists the formats that a model accepts. */
export interface AudioInput {
  /** Source of the audio, and the start offset. */
  readonly audio: FileSource & {
    /** Start in seconds from the beginning of the file. Offsets of segments also count from the beginning. */
    readonly startOffsetSec?: number | undefined;
  };
  /** A string of at most 256 bytes of UTF-8, which is returned with each event of this input. */
  readonly key?: string | undefined;
}

/** An input to embed. */
export type Input = TextInput | ImageInput | AudioInput;

const MODALITIES = ["text", "image", "audio"];
const SOURCES = ["url", "path", "data", "stream"];

/**
 * Return one or several inputs as a list.
 *
 * @throws TypeError - a value is not an input.
 */
export function listed(inputs: Input | readonly Input[]): readonly Input[] {
  const found = Array.isArray(inputs) ? (inputs as readonly Input[]) : [inputs as Input];
  for (const [index, item] of found.entries()) check(item, index);
  return found;
}

/** The modality and the value of an input, by its only defined member. */
export type Given =
  | { readonly name: "text"; readonly value: TextInput }
  | { readonly name: "image"; readonly value: ImageInput["image"] }
  | { readonly name: "audio"; readonly value: AudioInput["audio"] };

/** Return the modality and the value of a checked input. */
export function given(input: Input): Given {
  const { image, audio } = input as Partial<ImageInput & AudioInput>;
  if (image !== undefined) return { name: "image", value: image };
  if (audio !== undefined) return { name: "audio", value: audio };
  return { name: "text", value: input as TextInput };
}

/** Return the file of an input; undefined for a text. */
export function fileOf(input: Input): FileSource | undefined {
  const { name, value } = given(input);
  return name === "text" ? undefined : value;
}

/**
 * Check the types of an input for callers without TypeScript. Otherwise it would fail in the middle of an upload.
 *
 * @throws TypeError - the value is not an input.
 */
export function check(input: unknown, index: number): asserts input is Input {
  const at = `inputs[${String(index)}]`;
  const modality = only(input, MODALITIES, at);
  const value = modality.value;
  const { key } = input as { key?: unknown };
  if (key !== undefined && typeof key !== "string") throw new TypeError(`${at}.key: must be a string`);
  if (modality.name === "text") {
    if (typeof value !== "string") throw new TypeError(`${at}.text: must be a string`);
    const truncate = (input as TextInput).truncate;
    if (truncate !== undefined && !["none", "start", "end"].includes(truncate)) {
      throw new TypeError(`${at}.truncate: must be "none", "start" or "end"`);
    }
    return;
  }
  const source = only(value, SOURCES, `${at}.${modality.name}`);
  const allowed = SOURCE_CHECKS[source.name]?.(source.value);
  if (!allowed) throw new TypeError(`${at}.${modality.name}.${source.name}: ${EXPECTED[source.name] ?? ""}`);
  const { startOffsetSec } = value as { startOffsetSec?: unknown };
  if (startOffsetSec !== undefined && typeof startOffsetSec !== "number") {
    throw new TypeError(`${at}.${modality.name}.startOffsetSec: must be a number`);
  }
  // The error of a stream that fails early is reported when it is sent, not as an unhandled event.
  if (source.value instanceof Readable) source.value.on("error", () => undefined);
}

const SOURCE_CHECKS: Record<string, (value: unknown) => boolean> = {
  url: (value) => typeof value === "string" || value instanceof URL,
  path: (value) => typeof value === "string" || value instanceof URL,
  data: (value) => value instanceof Uint8Array || value instanceof Blob,
  stream: (value) => typeof value === "object" && value !== null && Symbol.asyncIterator in value,
};

const EXPECTED: Record<string, string> = {
  url: "must be a string or a URL",
  path: "must be a string or a file URL",
  data: "must be a Uint8Array or a Blob",
  stream: "must be a stream or another async iterable of bytes; pass bytes as data",
};

function only(value: unknown, names: string[], at: string): { name: string; value: unknown } {
  const members = typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  const given = names.filter((name) => members[name] !== undefined);
  const [name] = given;
  if (name === undefined || given.length > 1) {
    throw new TypeError(`${at}: must have exactly one of ${names.join(", ")}; got ${given.join(" and ") || "none"}`);
  }
  return { name, value: members[name] };
}
