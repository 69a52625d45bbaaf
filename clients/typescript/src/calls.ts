/** The methods of the contract as calls of grpc-js: what comes back, how it ended, and how it is stopped. */

import { type DescMessage, type DescMethod, type MessageShape, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type CallOptions,
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  type StatusObject,
  status as StatusCode,
} from "@grpc/grpc-js";

import type { CallArguments, Connection } from "./connection.js";
import { errorOfStatus } from "./details.js";
import { EmbeddingService, type CreateEmbeddingRequest } from "./generated/embedwire/v1/embedding_pb.js";
import * as pb from "./generated/embedwire/v1/embedding_pb.js";

/** A call of either kind whose answers are streamed. */
export type StreamingCall = ClientReadableStream<pb.CreateEmbeddingResponse> | UploadCall;

/** A call with an upload. */
export type UploadCall = ClientDuplexStream<pb.CreateEmbeddingFromUploadRequest, pb.CreateEmbeddingFromUploadResponse>;

const { method: METHODS } = EmbeddingService;

/** A channel and the calls on it. It connects with the first call. */
export class Channel {
  readonly #client: Client;

  constructor(connection: Connection) {
    this.#client = new Client(connection.target, connection.credentials, connection.channelOptions);
  }

  /** Embed what is in the request. */
  create(request: CreateEmbeddingRequest, call: CallArguments): ClientReadableStream<pb.CreateEmbeddingResponse> {
    const { input, output } = METHODS.createEmbedding;
    const at = path(METHODS.createEmbedding);
    const { metadata } = call;
    return this.#client.makeServerStreamRequest(at, writer(input), reader(output), request, metadata, options(call));
  }

  /** Embed what is in the request, and what is then written. */
  upload(call: CallArguments): UploadCall {
    const { input, output } = METHODS.createEmbeddingFromUpload;
    const at = path(METHODS.createEmbeddingFromUpload);
    return this.#client.makeBidiStreamRequest(at, writer(input), reader(output), call.metadata, options(call));
  }

  /**
   * One message each way.
   *
   * @throws EmbedwireError - the call failed.
   */
  async unary<Input extends DescMessage, Output extends DescMessage>(
    method: DescMethod & { input: Input; output: Output },
    request: MessageShape<Input>,
    call: CallArguments,
    signal: AbortSignal | undefined,
  ): Promise<MessageShape<Output>> {
    signal?.throwIfAborted();
    const { promise, resolve } = withResolvers<MessageShape<Output> | undefined>();
    const running = this.#client.makeUnaryRequest(
      path(method),
      writer(method.input),
      reader(method.output),
      request,
      call.metadata,
      options(call),
      (_, answer) => {
        resolve(answer); // what went wrong, the status says
      },
    );
    const ending = ended(running);
    const release = onAbort(signal, () => {
      running.cancel();
    });
    const answer = await promise;
    const status = await ending;
    release();
    if (status.code === StatusCode.OK && answer !== undefined) return answer;
    signal?.throwIfAborted();
    throw errorOfStatus(status, call.requestId);
  }

  /** Close the connection, and the calls that still run. */
  close(): void {
    this.#client.close();
  }
}

/** How a call ends. Never rejects; nor does the call emit an error that nobody listens to. */
export async function ended(call: {
  on(name: "error", listener: () => void): unknown;
  once(name: "status", listener: (status: StatusObject) => void): unknown;
}): Promise<StatusObject> {
  call.on("error", () => undefined);
  return new Promise((resolve) => call.once("status", resolve));
}

/** Do something when the signal is aborted; returns what takes that back. */
export function onAbort(signal: AbortSignal | undefined, act: () => void): () => void {
  signal?.addEventListener("abort", act, { once: true });
  return () => signal?.removeEventListener("abort", act);
}

/** A promise and what settles it. Promise.withResolvers is of Node.js 22. */
function withResolvers<Value>(): { promise: Promise<Value>; resolve: (value: Value) => void } {
  let resolve: ((value: Value) => void) | undefined;
  const promise = new Promise<Value>((found) => (resolve = found));
  return { promise, resolve: (value) => resolve?.(value) };
}

function path(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function options({ timeoutMs }: CallArguments): CallOptions {
  return { deadline: Date.now() + timeoutMs };
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
