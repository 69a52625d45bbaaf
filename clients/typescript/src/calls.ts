/** The methods of the contract as calls of grpc-js. */

import { type DescMessage, type DescMethod, type MessageShape, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  type StatusObject,
  status as StatusCode,
} from "@grpc/grpc-js";

import { Attempts, pause } from "./attempts.js";
import type { CallArguments, Connection } from "./connection.js";
import { errorOfStatus } from "./details.js";
import * as pb from "./generated/embedwire/v1/embedding_pb.js";
import { Lifetime, onAbort } from "./lifetime.js";

/** A call whose responses are streamed. */
export type StreamingCall = ClientReadableStream<pb.CreateEmbeddingResponse> | UploadCall;

/** A call with an upload. */
export type UploadCall = ClientDuplexStream<pb.CreateEmbeddingFromUploadRequest, pb.CreateEmbeddingFromUploadResponse>;

type Method<Input extends DescMessage, Output extends DescMessage> = DescMethod & { input: Input; output: Output };

const { method: METHODS } = pb.EmbeddingService;

/** The channels of a client. Calls use them in turn; the first call of a channel opens its connection. */
export class Channels {
  readonly lifetime = new Lifetime();
  readonly #clients: readonly Client[];
  #calls = 0;

  constructor(connection: Connection) {
    const { target, credentials, channelOptions } = connection;
    this.#clients = Array.from({ length: connection.channels }, () => new Client(target, credentials, channelOptions));
  }

  /** Start a call without uploads. */
  create(
    request: pb.CreateEmbeddingRequest,
    { metadata }: CallArguments,
    { deadline }: Attempts,
  ): ClientReadableStream<pb.CreateEmbeddingResponse> {
    const { input, output } = METHODS.createEmbedding;
    const at = path(METHODS.createEmbedding);
    return this.#next().makeServerStreamRequest(at, writer(input), reader(output), request, metadata, { deadline });
  }

  /** Start a call with uploads. */
  upload({ metadata }: CallArguments, { deadline }: Attempts): UploadCall {
    const { input, output } = METHODS.createEmbeddingFromUpload;
    const at = path(METHODS.createEmbeddingFromUpload);
    return this.#next().makeBidiStreamRequest(at, writer(input), reader(output), metadata, { deadline });
  }

  /**
   * Make a unary call.
   *
   * @throws EmbedwireError - the call failed.
   * @throws ClosedError - the client is closed.
   */
  async unary<Input extends DescMessage, Output extends DescMessage>(
    method: Method<Input, Output>,
    request: MessageShape<Input>,
    call: CallArguments,
    signal: AbortSignal | undefined,
  ): Promise<MessageShape<Output>> {
    const stopper = new AbortController();
    const release = this.lifetime.follow(stopper, signal);
    try {
      return await this.#repeated(method, request, call, stopper.signal);
    } finally {
      release();
    }
  }

  /** Close the connections and cancel running calls. */
  close(): void {
    this.lifetime.end();
    for (const client of this.#clients) client.close();
  }

  #next(): Client {
    const client = this.#clients[this.#calls++ % this.#clients.length];
    if (client === undefined) throw new RangeError("there is no channel");
    return client;
  }

  async #repeated<Input extends DescMessage, Output extends DescMessage>(
    method: Method<Input, Output>,
    request: MessageShape<Input>,
    call: CallArguments,
    signal: AbortSignal,
  ): Promise<MessageShape<Output>> {
    const attempts = new Attempts(call);
    for (;;) {
      signal.throwIfAborted();
      const { answer, status } = await this.#answer(method, request, call, attempts, signal);
      if (status.code === StatusCode.OK && answer !== undefined) return answer;
      signal.throwIfAborted();
      const delay = attempts.delayMs(status);
      if (delay === undefined) throw errorOfStatus(status, call.requestId);
      await pause(delay, signal);
    }
  }

  async #answer<Input extends DescMessage, Output extends DescMessage>(
    method: Method<Input, Output>,
    request: MessageShape<Input>,
    { metadata }: CallArguments,
    { deadline }: Attempts,
    signal: AbortSignal,
  ): Promise<{ answer: MessageShape<Output> | undefined; status: StatusObject }> {
    let answer: MessageShape<Output> | undefined;
    const at = path(method);
    const [write, read] = [writer(method.input), reader(method.output)];
    const running = this.#next().makeUnaryRequest(at, write, read, request, metadata, { deadline }, (_, found) => {
      answer = found; // arrives before the status, which has the error
    });
    const release = onAbort(signal, () => {
      running.cancel();
    });
    const status = await ended(running);
    release();
    return { answer, status };
  }
}

/** Wait for the status of a call. Never rejects, and handles the "error" event of the call. */
export async function ended(call: {
  on(name: "error", listener: () => void): unknown;
  once(name: "status", listener: (status: StatusObject) => void): unknown;
}): Promise<StatusObject> {
  call.on("error", () => undefined);
  return new Promise((resolve) => call.once("status", resolve));
}

function path(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function writer<Schema extends DescMessage>(schema: Schema): (message: MessageShape<Schema>) => Buffer {
  return (message) => {
    const bytes = toBinary(schema, message);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
}

function reader<Schema extends DescMessage>(schema: Schema): (bytes: Buffer) => MessageShape<Schema> {
  return (bytes) => fromBinary(schema, bytes);
}
