/** The inputs. The source of a file is explicit, never guessed from a string. */

import { Readable } from "node:stream";

import { type AudioOptions, checkAudioOptions } from "./audio.js";
import { checkType, onlyMember } from "./checks.js";

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

/** The sources of a file. */
interface FileSources {
  /** An absolute http or https URL of the raw file, which the upstream fetches. */
  readonly url: string | URL;
  /** A local file, as a path or a file URL. It is opened immediately before it is sent. */
  readonly path: string | URL;
  /** The bytes of the file. */
  readonly data: Uint8Array | Blob;
  /** The bytes as a stream. It is read to its end, or destroyed if the call ends before. */
  readonly stream: ByteStream;
  /**
   * Identifier of a file that the upstream already has (an asset), 1 to 128 letters, digits, "-" and "_". It must belong
   * to the account of the API key. The server does not delete it.
   */
  readonly assetId: string;
}

/** Members that must be left out. */
type Without<Names extends PropertyKey> = Readonly<Partial<Record<Names, undefined>>>;

/** Exactly one of the members. */
type OneOf<All> = { [Name in keyof All]: Pick<All, Name> & Without<Exclude<keyof All, Name>> }[keyof All];

/**
 * The source of a file: exactly one of `url`, `path`, `data`, `stream` and `assetId`.
 *
 * Files of together at most 1 MiB are sent in the request. All other files, and all streams, are uploaded in chunks and
 * never held in memory as a whole.
 */
export type FileSource = FileDescription & OneOf<FileSources> & Without<"taskId">;

/**
 * An earlier task of the upstream, for instance that of {@link EmbedwireError.upstreamTaskId} after a passed deadline.
 *
 * The input waits for the task and has its result, which is kept for seven days; nothing is billed again. The model and
 * the dimensions of the call must be those of the task. All other members must be left out.
 */
export type TaskSource = Without<keyof FileSources | keyof FileDescription | keyof AudioOptions> & {
  /** Identifier of the task, 1 to 128 letters, digits, "-" and "_". */
  readonly taskId: string;
};

/** An image to embed. It yields one segment. {@link Model.image} lists the formats that a model accepts. */
export interface ImageInput {
  /** Source of the image. */
  readonly image: FileSource;
  /** A string of at most 256 bytes of UTF-8, which is returned with each event of this input. */
  readonly key?: string | undefined;
}

/** An audio file to embed. It yields segments over time. {@link Model.audio} lists the formats that a model accepts. */
export interface AudioInput {
  /** Source of the audio with its options, or an earlier task. */
  readonly audio: (FileSource & AudioOptions) | TaskSource;
  /** A string of at most 256 bytes of UTF-8, which is returned with each event of this input. */
  readonly key?: string | undefined;
}

/** An input to embed. */
export type Input = TextInput | ImageInput | AudioInput;

const MODALITIES = ["text", "image", "audio"];
const SOURCES = ["url", "path", "data", "stream", "assetId"];
const CONTENT = ["path", "data", "stream"] as const;

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

/** Return the file of an input whose content this client sends; undefined for all others. */
export function fileOf(input: Input): FileSource | undefined {
  const { name, value } = given(input);
  if (name === "text" || value.taskId !== undefined) return undefined;
  return CONTENT.some((source) => value[source] !== undefined) ? value : undefined;
}

/**
 * Check the types of an input for callers without TypeScript. Otherwise it would fail in the middle of an upload.
 *
 * @throws TypeError - the value is not an input.
 */
export function check(input: unknown, index: number): asserts input is Input {
  const at = `inputs[${String(index)}]`;
  const { name, value } = onlyMember(at, input, MODALITIES);
  checkType(`${at}.key`, (input as { key?: unknown }).key, "string");
  if (name === "text") checkText(at, input as TextInput);
  else checkMedia(`${at}.${name}`, name, value as object);
}

function checkText(at: string, { text, truncate }: TextInput): void {
  checkType(`${at}.text`, text, "string");
  if (truncate !== undefined && !["none", "start", "end"].includes(truncate)) {
    throw new TypeError(`${at}.truncate: must be "none", "start" or "end"`);
  }
}

function checkMedia(at: string, modality: string, media: object): void {
  const { name, value } = onlyMember(at, media, modality === "audio" ? [...SOURCES, "taskId"] : SOURCES);
  if (!SOURCE_CHECKS[name]?.(value)) throw new TypeError(`${at}.${name}: ${EXPECTED[name] ?? ""}`);
  if (modality === "audio") checkAudioOptions(at, media);
  // The error of a stream that fails early is reported when it is sent, not as an unhandled event.
  if (value instanceof Readable) value.on("error", () => undefined);
}

const isString = (value: unknown): boolean => typeof value === "string";

const SOURCE_CHECKS: Record<string, (value: unknown) => boolean> = {
  url: (value) => isString(value) || value instanceof URL,
  path: (value) => isString(value) || value instanceof URL,
  data: (value) => value instanceof Uint8Array || value instanceof Blob,
  stream: (value) => typeof value === "object" && value !== null && Symbol.asyncIterator in value,
  assetId: isString,
  taskId: isString,
};

const EXPECTED: Record<string, string> = {
  url: "must be a string or a URL",
  path: "must be a string or a file URL",
  data: "must be a Uint8Array or a Blob",
  stream: "must be a stream or another async iterable of bytes; pass bytes as data",
  assetId: "must be a string",
  taskId: "must be a string",
};
