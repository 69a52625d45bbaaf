/** An input of a run. */

import * as files from "../files.js";
import { type Input, fileOf, given } from "../inputs.js";
import { INLINE_BYTES } from "../requests.js";

/** An input that has been read. Times are those of `performance.now()`. */
export class Item {
  /** When it was read. */
  readonly readAt = performance.now();
  /** Bytes of its file, as `files.bytes` measures them. */
  fileBytes = 0;
  /** Bytes that it adds to the request. */
  contentBytes = 0;
  /** Identifier of the upstream's task, as known from its progress or its failure; empty if there is none. */
  taskId = "";
  /** When its deadline passes, if waits count and it has been sent. */
  deadlineAt: number | undefined;
  /** The half of a divided call to which it belongs; halves are not joined again. */
  half: symbol | undefined;

  constructor(
    readonly input: Input,
    /** Position in the iterator, from 0. */
    readonly position: number,
  ) {}

  /**
   * Measure its content.
   *
   * @throws Error - of Node.js: the path is not a readable file.
   */
  async measure(): Promise<void> {
    const { name, value } = given(this.input);
    this.fileBytes = await files.bytes(this.file);
    this.contentBytes = name === "text" ? Buffer.byteLength(value.text) : this.fileBytes;
  }

  /** Whether its file is uploaded in chunks, in a separate call. */
  get isUpload(): boolean {
    return this.fileBytes > INLINE_BYTES;
  }

  /**
   * Whether it is sent again after a rejection. Not if its bytes can be read only once, as those of a stream or of a
   * path that is not a regular file; nor if it has a task, since another call would create and bill a second one.
   */
  get isRepeatable(): boolean {
    return this.fileBytes !== Infinity && this.taskId === "";
  }

  /** The path of its content in the request, for failures. */
  get sourceField(): string {
    const { name } = given(this.input);
    return `inputs[${String(this.position)}].${name === "text" ? "text.value" : `${name}.source`}`;
  }

  /** The file, if there is one. */
  get file(): ReturnType<typeof fileOf> {
    return fileOf(this.input);
  }
}
