/** A server of the contract whose answers a test writes. */

import { type MessageInitShape, create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { anyPack, durationFromMs } from "@bufbuild/protobuf/wkt";
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type UntypedServiceImplementation,
  type sendUnaryData,
} from "@grpc/grpc-js";
import { Client, type ClientOptions, type Embedding, type Stream } from "@embedwire/client";

// The contract is not a public part of the package, so it is read from where it is built.
import * as pb from "../src/generated/embedwire/v1/embedding_pb.js";
import { ErrorReason } from "../src/generated/embedwire/v1/error_reason_pb.js";
import { StatusSchema } from "../src/generated/status_pb.js";

/** The messages of both streams are encoded alike. */
export type Answer = pb.CreateEmbeddingFromUploadResponse;

/** What arrives of an upload. */
export type Asked = pb.CreateEmbeddingFromUploadRequest;

/** A call of CreateEmbedding. */
export type CreateCall = ServerWritableStream<pb.CreateEmbeddingRequest, Answer>;

/** A call of CreateEmbeddingFromUpload. */
export type UploadCall = ServerDuplexStream<Asked, Answer>;

type UnaryCall = ServerUnaryCall<pb.CreateEmbeddingUnaryRequest, pb.CreateEmbeddingUnaryResponse>;

/** What a test answers. */
export interface Methods {
  create?: (call: CreateCall) => unknown;
  upload?: (call: UploadCall) => unknown;
  unary?: (call: UnaryCall, done: sendUnaryData<pb.CreateEmbeddingUnaryResponse>) => unknown;
}

/** A running server, its target, and a client of it. */
export interface Fake extends AsyncDisposable {
  readonly client: Client;
  readonly target: string;
}

/** Start a server. */
export async function fake(methods: Methods, options?: ClientOptions): Promise<Fake> {
  const server = new Server();
  const stream = (message: Answer) => toBinary(pb.CreateEmbeddingFromUploadResponseSchema, message);
  const one = (message: pb.CreateEmbeddingUnaryResponse) => toBinary(pb.CreateEmbeddingUnaryResponseSchema, message);
  server.addService(
    {
      create: method("CreateEmbedding", [false, true], pb.CreateEmbeddingRequestSchema, stream),
      upload: method("CreateEmbeddingFromUpload", [true, true], pb.CreateEmbeddingFromUploadRequestSchema, stream),
      unary: method("CreateEmbeddingUnary", [false, false], pb.CreateEmbeddingUnaryRequestSchema, one),
    },
    methods as UntypedServiceImplementation,
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(error);
      else resolve(bound);
    });
  });
  const target = `127.0.0.1:${port.toString()}`;
  const client = new Client(target, options);
  const stop = () => {
    client.close();
    server.forceShutdown();
    return Promise.resolve();
  };
  return { client, target, [Symbol.asyncDispose]: stop };
}

function method<Response>(
  name: string,
  [requestStream, responseStream]: readonly [boolean, boolean],
  request:
    | typeof pb.CreateEmbeddingRequestSchema
    | typeof pb.CreateEmbeddingFromUploadRequestSchema
    | typeof pb.CreateEmbeddingUnaryRequestSchema,
  encode: (message: Response) => Uint8Array,
) {
  return {
    path: `/${pb.EmbeddingService.typeName}/${name}`,
    requestStream,
    responseStream,
    requestSerialize: () => Buffer.of(),
    requestDeserialize: (bytes: Buffer) => fromBinary(request, bytes),
    responseSerialize: (message: Response) => Buffer.from(encode(message)),
    responseDeserialize: () => undefined,
  };
}

/** One segment, with its index in its vector; the key moves its bytes about in the message. */
export function segment(inputIndex: number, segmentIndex: number, inputKey = ""): Answer {
  const data = Buffer.from(Float32Array.of(segmentIndex, 0.5, -1, 2, 3).buffer);
  const vector = { dimensions: 5, form: { case: "float32Le", value: data } } as const;
  const value = { inputIndex, segmentIndex, inputKey, vector, modality: { case: "text", value: {} } } as const;
  return create(pb.CreateEmbeddingFromUploadResponseSchema, { events: [{ event: { case: "segment", value } }] });
}

/** The end of an input. */
export function result(
  inputIndex: number,
  segmentCount: number,
  failure?: MessageInitShape<typeof pb.FailureSchema>,
  inputKey = "",
): Answer {
  const value = { inputIndex, inputKey, segmentCount, ...(failure && { failure }) };
  return create(pb.CreateEmbeddingFromUploadResponseSchema, { events: [{ event: { case: "result", value } }] });
}

/** A new stage of an input. */
export function progress(inputIndex: number, stage: pb.ProgressStage, upstreamTaskId = ""): Answer {
  const value = { inputIndex, stage, upstreamTaskId };
  return create(pb.CreateEmbeddingFromUploadResponseSchema, { events: [{ event: { case: "progress", value } }] });
}

/** Answer every input of a call with one segment. */
export function embedAll(call: CreateCall): void {
  for (const [index, { key }] of call.request.inputs.entries()) {
    call.write(segment(index, 0, key));
    call.write(result(index, 1, undefined, key));
  }
  call.end();
}

/** Anything that can be ended with an error. */
interface Failing {
  emit(name: "error", error: object): unknown;
}

/** End a call as a server does that is overloaded. */
export function overload(call: Failing, retryDelayMs: number): void {
  fail(call, { code: 8, reason: ErrorReason.OVERLOADED, message: "full", retryDelay: durationFromMs(retryDelayMs) });
}

/** End a call with a failure, by default with its status. */
export function fail(call: Failing, init: MessageInitShape<typeof pb.FailureSchema>, code = init.code): void {
  const failure = create(pb.FailureSchema, init);
  const details = [anyPack(pb.FailureSchema, failure)];
  const metadata = new Metadata();
  const { message } = failure;
  const encoded = toBinary(StatusSchema, create(StatusSchema, { code: failure.code, message, details }));
  metadata.set("grpc-status-details-bin", Buffer.from(encoded));
  call.emit("error", { code, details: message, metadata });
}

/** Wait until something is so; the timeout of the test ends a wait in vain. */
export async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Everything that a run yields, and what it throws at its end. */
export async function drained(run: Stream<Embedding>): Promise<{ found: Embedding[]; error: unknown }> {
  const found: Embedding[] = [];
  try {
    for await (const embedding of run) found.push(embedding);
  } catch (error) {
    return { found, error };
  }
  return { found, error: undefined };
}

/** The positions of what a run has yielded, in order. */
export function positions(found: readonly Embedding[]): number[] {
  return found.map(({ result }) => result.inputIndex).sort((one, other) => one - other);
}
