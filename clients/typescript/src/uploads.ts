/** The upload of the files of a call. */

import type { StatusObject } from "@grpc/grpc-js";
import { Readable } from "node:stream";

import type { UploadCall } from "./calls.js";
import { open, pieces } from "./files.js";
import type { CreateEmbeddingFromUploadRequest } from "./generated/embedwire/v1/embedding_pb.js";
import type { FileSource } from "./inputs.js";
import { type Plan, chunk, first } from "./requests.js";

/** Sends a request and its files, while the responses are read. */
export class Upload {
  /** Error of an unreadable file. The call is then cancelled, and the reader of the responses throws it. */
  error: Error | undefined;

  readonly #plan: Plan;
  readonly #call: UploadCall;
  readonly #ended: Promise<StatusObject>;
  readonly #answered = new Set<number>();
  /** Resolves the wait for the transport. */
  #written: (() => void) | undefined;
  #isOver = false;

  constructor(plan: Plan, call: UploadCall, ended: Promise<StatusObject>) {
    this.#plan = plan;
    this.#call = call;
    this.#ended = ended;
    void this.#send();
  }

  /** Stop the upload of a file whose input has a result: the server would discard the rest. */
  answered(index: number): void {
    this.#answered.add(index);
  }

  async #send(): Promise<void> {
    void this.#ended.then(() => {
      this.#isOver = true;
      this.#written?.();
    });
    try {
      await this.#write(first(this.#plan.request));
      for (const [index, file] of this.#plan.uploads) {
        if (this.#isOver) return;
        await this.#sendFile(index, file);
        await this.#write(chunk(index));
      }
      this.#call.end();
    } catch (error) {
      if (this.#isOver) return; // the sources were destroyed
      this.error = error instanceof Error ? error : new Error("a file cannot be read", { cause: error });
      this.#call.cancel();
    } finally {
      for (const { stream } of this.#plan.uploads.values()) if (stream instanceof Readable) stream.destroy();
    }
  }

  async #sendFile(index: number, file: FileSource): Promise<void> {
    const source = await open(file, this.#plan.chunkBytes);
    source.on("error", () => undefined); // also after it has been left
    void this.#ended.then(() => source.destroy()); // also while it is waited for
    for await (const read of source) {
      for (const piece of pieces(read, this.#plan.chunkBytes)) {
        if (this.#isOver || this.#answered.has(index)) return;
        await this.#write(chunk(index, piece));
      }
    }
  }

  /** Wait until the transport has accepted the message (flow control). Does nothing after the end of the call. */
  async #write(message: CreateEmbeddingFromUploadRequest): Promise<void> {
    if (this.#isOver) return;
    await new Promise<void>((resolve) => {
      this.#written = resolve;
      this.#call.write(message, () => {
        resolve();
      });
    });
  }
}
