/** What can be embedded. Nothing is guessed from a string: where the bytes of a file come from is named. */

import { Readable } from "node:stream";

/** Which end of a too long text is cut off; "none" fails it instead. */
export type Truncate = "none" | "start" | "end";

/** A text. Gives one segment. */
export interface TextInput {
  /** The text; not empty, at most 64 KiB of UTF-8 unless the server says otherwise. */
  readonly text: string;
  /** Which end of a too long text is cut off; the upstream's default if not given. See {@link TextSupport.truncates}. */
  readonly truncate?: Truncate | undefined;
  /** Any string of at most 256 bytes of UTF-8; it comes back with every event of this input. */
  readonly key?: string | undefined;
}

/** Bytes in pieces of any size: a Node.js stream, a web stream, or any other async iterable. */
export type ByteStream = AsyncIterable<Uint8Array>;

/** What may be said of a file, wherever it is. */
export interface FileDescription {
  /** A name for the file, which comes back as metadata; by default that of the path, or of a `File`. */
  readonly fileName?: string | undefined;
  /** For instance "audio/mpeg"; by default that of a `Blob`, or what the name suggests. */
  readonly mediaType?: string | undefined;
}

/**
 * Where the bytes of a file are: exactly one of `url`, `path`, `data` and `stream`.
 *
 * Files of together at most 1 MiB travel in the request; every other one, and any stream, is uploaded in chunks and
 * never held as a whole.
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
        /** A local file, as a path or a file URL. It is opened when its turn comes to be sent. */
        readonly path: string | URL;
        readonly url?: undefined;
        readonly data?: undefined;
        readonly stream?: undefined;
      }
    | {
        /** The bytes themselves. */
        readonly data: Uint8Array | Blob;
        readonly url?: undefined;
        readonly path?: undefined;
        readonly stream?: undefined;
      }
    | {
        /** The bytes in pieces. It is read to its end, or destroyed if the call ends before. */
        readonly stream: ByteStream;
        readonly url?: undefined;
        readonly path?: undefined;
        readonly data?: undefined;
      }
  );

/** An image. Gives one segment. Which formats a model takes, {@link Model.image} says. */
export interface ImageInput {
  /** Where the image is. */
  readonly image: FileSource;
  /** Any string of at most 256 bytes of UTF-8; it comes back with every event of this input. */
  readonly key?: string | undefined;
}

/** An audio file. Gives segments over time. Which formats a model takes, {@link Model.audio} says. */
export interface AudioInput {
  /** Where the audio is, and where in it to start. */
  readonly audio: FileSource & {
    /**
     * Where to start, in seconds from the beginning of the file. Offsets in the answer count from the beginning of the
     * file all the same.
     */
    readonly startOffsetSec?: number | undefined;
  };
  /** Any string of at most 256 bytes of UTF-8; it comes back with every event of this input. */
  readonly key?: string | undefined;
}

/** One thing to embed. */
export type Input = TextInput | ImageInput | AudioInput;

const MODALITIES = ["text", "image", "audio"];
const SOURCES = ["url", "path", "data", "stream"];

/**
 * One input, or several, as a list.
 *
 * @throws TypeError - there is something else among them.
 */
export function listed(inputs: Input | readonly Input[]): readonly Input[] {
  const found = Array.isArray(inputs) ? (inputs as readonly Input[]) : [inputs as Input];
  for (const [index, item] of found.entries()) check(item, index);
  return found;
}

/** What an input is, by the one member that is given. A member that is undefined is not. */
export type Given =
  | { readonly name: "text"; readonly value: TextInput }
  | { readonly name: "image"; readonly value: ImageInput["image"] }
  | { readonly name: "audio"; readonly value: AudioInput["audio"] };

/** What an input is, which has been checked. */
export function given(input: Input): Given {
  const { image, audio } = input as Partial<ImageInput & AudioInput>;
  if (image !== undefined) return { name: "image", value: image };
  if (audio !== undefined) return { name: "audio", value: audio };
  return { name: "text", value: input as TextInput };
}

/** The file of an input; undefined for a text. */
export function fileOf(input: Input): FileSource | undefined {
  const { name, value } = given(input);
  return name === "text" ? undefined : value;
}

/**
 * Check the types of an input for callers without TypeScript; it would otherwise fail in the middle of an upload.
 *
 * @throws TypeError - it is not an input.
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
  // A stream that fails before it is sent is reported when it is sent, and not as an unhandled event.
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
