/** Read files: size, name, media type, and content in chunks. */

import { constants, createReadStream, openSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { Socket } from "node:net";
import { basename } from "node:path";
import { Readable } from "node:stream";
import { ReadableStream } from "node:stream/web";
import { fileURLToPath } from "node:url";

import { lookup } from "mime-types";

import type { FileSource } from "./inputs.js";

/** A source has invalid content. The message contains none of it. */
export class SourceError extends TypeError {}

/**
 * Return the number of bytes of a file that this client has to send: 0 without a file, infinity if unknown before they
 * are read.
 *
 * @throws Error - of Node.js: the path is not a readable file.
 */
export async function bytes(file: FileSource | undefined): Promise<number> {
  if (file === undefined) return 0;
  if (file.data !== undefined) return file.data instanceof Blob ? file.data.size : file.data.byteLength;
  if (file.path === undefined) return Infinity;
  const found = await stat(file.path);
  if (found.isDirectory()) await readFile(file.path); // throws the EISDIR error of Node.js
  return found.isFile() ? found.size : Infinity; // a pipe has no size
}

/** Return the given file name, else that of the path or `File`; empty if there is none. */
export function name(file: FileSource): string {
  if (file.fileName !== undefined && file.fileName !== "") return file.fileName;
  if (file.path !== undefined) return basename(file.path instanceof URL ? fileURLToPath(file.path) : file.path);
  return file.data instanceof Blob && "name" in file.data ? String(file.data.name) : "";
}

/** Return the given media type, else that of the `Blob`, else that of the file name; empty if there is none. */
export function mediaType(file: FileSource): string {
  if (file.mediaType !== undefined && file.mediaType !== "") return file.mediaType;
  return (file.data instanceof Blob && file.data.type) || lookup(name(file)) || "";
}

/**
 * Read a file of this size into memory.
 *
 * @throws SourceError - the file has grown since it was measured.
 * @throws Error - of Node.js: the file cannot be read.
 */
export async function readWhole(file: FileSource, size: number): Promise<Uint8Array> {
  if (file.data instanceof Uint8Array) return file.data;
  const bytes =
    file.data === undefined ? await readFile(file.path ?? "") : new Uint8Array(await file.data.arrayBuffer());
  if (bytes.byteLength > size) throw new SourceError("the file has grown while it was read");
  return bytes;
}

/** Release a source that will not be read. */
export function discard(file: FileSource | undefined): void {
  if (file?.stream instanceof Readable) file.stream.destroy();
  else if (file?.stream instanceof ReadableStream) file.stream.cancel().catch(() => undefined); // locked if it is read
}

/**
 * Open the content as a stream, which ends or is destroyed with the upload.
 *
 * @throws Error - of Node.js: the path is not a readable file.
 */
export async function open(file: FileSource, chunkBytes: number): Promise<Readable> {
  if (file.data instanceof Uint8Array) return Readable.from([file.data]);
  if (file.path !== undefined) return openPath(file.path, chunkBytes);
  const source = file.data instanceof Blob ? file.data.stream() : file.stream;
  if (source instanceof Readable) return source;
  if (source instanceof ReadableStream) return Readable.fromWeb(source);
  return Readable.from(source as AsyncIterable<Uint8Array>);
}

/** Open a path. A pipe is opened without blocking, else it would occupy a thread of Node.js until it has a writer. */
async function openPath(path: string | URL, chunkBytes: number): Promise<Readable> {
  if (!(await stat(path)).isFIFO()) return createReadStream(path, { highWaterMark: chunkBytes });
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  return new Socket({ fd, readable: true, writable: false });
}

/**
 * Split a chunk of any size into chunks of at most `chunkBytes`.
 *
 * @throws SourceError - the chunk is not a Uint8Array.
 */
export function* pieces(chunk: unknown, chunkBytes: number): Generator<Uint8Array, void, undefined> {
  if (!(chunk instanceof Uint8Array)) throw new SourceError(`a file must give bytes, got ${typeof chunk}`);
  for (let start = 0; start < chunk.byteLength; start += chunkBytes) yield chunk.subarray(start, start + chunkBytes);
}
