/** A server of the contract whose answers a test writes. */

import { type MessageInitShape, create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type ServerDuplexStream,
  type ServerWritableStream,
  Server,
  ServerCredentials,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { Client } from "@embedwire/client";

// The contract is not a public part of the package, so it is read from where it is built.
import * as pb from "../src/generated/embedwire/v1/embedding_pb.js";

/** The events of both streams are encoded alike. */
export type Answer = pb.CreateEmbeddingFromUploadResponse;

/** What arrives of an upload. */
export type Asked = pb.CreateEmbeddingFromUploadRequest;

interface Methods {
  create?: (call: ServerWritableStream<pb.CreateEmbeddingRequest, Answer>) => unknown;
  upload?: (call: ServerDuplexStream<pb.CreateEmbeddingFromUploadRequest, Answer>) => unknown;
}

/** A running server, and a client of it. */
export async function fake(methods: Methods): Promise<AsyncDisposable & { client: Client }> {
  const server = new Server();
  const respond = (message: Answer) => Buffer.from(toBinary(pb.CreateEmbeddingFromUploadResponseSchema, message));
  const method = (
    name: string,
    requestStream: boolean,
    schema: typeof pb.CreateEmbeddingRequestSchema | typeof pb.CreateEmbeddingFromUploadRequestSchema,
  ) => ({
    path: `/${pb.EmbeddingService.typeName}/${name}`,
    requestStream,
    responseStream: true,
    requestSerialize: () => Buffer.of(),
    requestDeserialize: (bytes: Buffer) => fromBinary(schema, bytes),
    responseSerialize: respond,
    responseDeserialize: () => undefined,
  });
  server.addService(
    {
      create: method("CreateEmbedding", false, pb.CreateEmbeddingRequestSchema),
      upload: method("CreateEmbeddingFromUpload", true, pb.CreateEmbeddingFromUploadRequestSchema),
    },
    methods as UntypedServiceImplementation,
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(error);
      else resolve(bound);
    });
  });
  const client = new Client(`127.0.0.1:${port.toString()}`);
  const stop = () => {
    client.close();
    server.forceShutdown();
    return Promise.resolve();
  };
  return { client, [Symbol.asyncDispose]: stop };
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
): Answer {
  const value = { inputIndex, segmentCount, ...(failure && { failure }) };
  return create(pb.CreateEmbeddingFromUploadResponseSchema, { events: [{ event: { case: "result", value } }] });
}
