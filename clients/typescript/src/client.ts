/** The client. */

import { create } from "@bufbuild/protobuf";

import { Channels } from "./calls.js";
import { AUDIO_MS, Connection, TEXT_MS } from "./connection.js";
import { EventStream } from "./events.js";
import { EmbeddingService, ListModelsRequestSchema } from "./generated/embedwire/v1/embedding_pb.js";
import { type Input, type TextInput, listed } from "./inputs.js";
import { type CallOptions, type ClientOptions, checkCallOptions } from "./options.js";
import * as replies from "./replies.js";
import * as requests from "./requests.js";
import type { Embedding, Model } from "./results.js";

const { method: METHODS } = EmbeddingService;

/** Where a server is by default. */
export const DEFAULT_TARGET = "127.0.0.1:50051";

/**
 * Calls an Embedwire server. One serves a whole program, and any number of calls at a time. It connects with the first
 * call.
 */
export class Client implements AsyncDisposable {
  readonly #connection: Connection;
  readonly #channels: Channels;

  /**
   * @param target - HOST:PORT, or any other gRPC name such as "dns:///embeddings.internal:443".
   * @param options - TLS, credentials, deadlines, connections.
   * @throws TypeError - an argument is invalid; the message says why.
   */
  constructor(target: string = DEFAULT_TARGET, options: ClientOptions = {}) {
    this.#connection = new Connection(target, options);
    this.#channels = new Channels(this.#connection);
  }

  /** Close the connections. Calls that still run, and later ones, end with a {@link ClosedError}. */
  close(): void {
    this.#channels.close();
  }

  /** For `await using`: the same as {@link Client.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  /**
   * Embed one or more inputs and hand out every segment and result as it arrives.
   *
   * Segments of one input come in order, inputs interleave, and each input ends with its result. Segments are
   * provisional until then: a failed result makes them invalid. With one input, its failure is thrown in place of a
   * result; with several it is in the result. Large files are uploaded in chunks.
   *
   * While iterating, {@link EmbedwireError} is thrown if the call fails, or its only input; and the error of Node.js if
   * a file cannot be read.
   *
   * @param model - name or alias of the model, for instance "marengo3.0".
   * @param inputs - what to embed, 1 to 256.
   * @throws TypeError - an argument is invalid; nothing was sent.
   * @throws ClosedError - the client is closed.
   */
  stream(model: string, inputs: Input | readonly Input[], options: CallOptions = {}): EventStream {
    return this.#stream(model, listed(inputs), options);
  }

  /**
   * Embed one input and return when it has a result.
   *
   * @throws EmbedwireError - the call failed, or its input.
   * @throws ClosedError - the client is closed.
   */
  embed(model: string, input: Input, options?: CallOptions): Promise<Embedding>;
  /**
   * Embed several inputs and return when all have a result.
   *
   * A failure of the only input is thrown, those among several are in {@link Embedding.failure}.
   *
   * @throws EmbedwireError - the call failed.
   * @throws ClosedError - the client is closed.
   */
  embed(model: string, inputs: readonly Input[], options?: CallOptions): Promise<Embedding[]>;
  async embed(
    model: string,
    inputs: Input | readonly Input[],
    options: CallOptions = {},
  ): Promise<Embedding | Embedding[]> {
    const found = await this.#embed(model, listed(inputs), options);
    return Array.isArray(inputs) ? found : (found[0] ?? found);
  }

  /**
   * What each model accepts and returns.
   *
   * @throws EmbedwireError - the call failed.
   * @throws ClosedError - the client is closed.
   */
  async models(options: Pick<CallOptions, "timeoutMs" | "requestId" | "signal"> = {}): Promise<Model[]> {
    checkCallOptions(options);
    const found: Model[] = [];
    let pageToken = "";
    do {
      const call = this.#connection.call(options, TEXT_MS);
      const request = create(ListModelsRequestSchema, { pageToken });
      const page = await this.#channels.unary(METHODS.listModels, request, call, options.signal);
      found.push(...page.models.map(replies.model));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    return found;
  }

  #stream(model: string, inputs: readonly Input[], options: CallOptions): EventStream {
    this.#channels.lifetime.check();
    checkCallOptions(options);
    const header = requests.header(model, options);
    const call = this.#connection.call(options, defaultMs(inputs));
    const plan = () => requests.plan(header, inputs, options.chunkBytes);
    return new EventStream({ channels: this.#channels, call, plan, signal: options.signal });
  }

  async #embed(model: string, inputs: readonly Input[], options: CallOptions): Promise<Embedding[]> {
    const [first] = inputs;
    if (inputs.length === 1 && first !== undefined && "text" in first)
      return [await this.#unary(model, first, options)];
    const events = this.#stream(model, inputs, options);
    const collector = new replies.Collector(inputs.length, events.requestId);
    for await (const event of events) collector.add(event);
    return collector.embeddings();
  }

  /** The cheapest call for a short text: one message each way. */
  async #unary(model: string, input: TextInput, options: CallOptions): Promise<Embedding> {
    checkCallOptions(options);
    const request = requests.unary(requests.header(model, options), input);
    const call = this.#connection.call(options, TEXT_MS);
    const answer = await this.#channels.unary(METHODS.createEmbeddingUnary, request, call, options.signal);
    return replies.onlyEmbedding(answer, call.requestId);
  }
}

function defaultMs(inputs: readonly Input[]): number {
  return inputs.some((input) => "audio" in input) ? AUDIO_MS : TEXT_MS;
}
