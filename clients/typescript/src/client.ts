/** The client. */

import { create } from "@bufbuild/protobuf";

import { Channel } from "./calls.js";
import { AUDIO_MS, type CallOptions, type ClientOptions, Connection, TEXT_MS } from "./connection.js";
import { EmbeddingService, ListModelsRequestSchema } from "./generated/embedwire/v1/embedding_pb.js";
import { type Input, isList, listed } from "./inputs.js";
import * as replies from "./replies.js";
import * as requests from "./requests.js";
import type { Embedding, Model } from "./results.js";
import { EventStream } from "./stream.js";

/** Where a server is by default. */
export const DEFAULT_TARGET = "127.0.0.1:50051";

/**
 * Calls an Embedwire server. One serves a whole program, and any number of calls at a time. It connects with the first
 * call.
 */
export class Client implements AsyncDisposable {
  readonly #connection: Connection;
  readonly #channel: Channel;

  /**
   * @param target - HOST:PORT, or any other gRPC name such as "dns:///embeddings.internal:443".
   * @param options - TLS, credentials, deadlines.
   * @throws TypeError - an argument cannot be used; the message says why.
   */
  constructor(target: string = DEFAULT_TARGET, options: ClientOptions = {}) {
    this.#connection = new Connection(target, options);
    this.#channel = new Channel(this.#connection);
  }

  /** Close the connection; calls that still run are cancelled. */
  close(): void {
    this.#channel.close();
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
   * provisional until then: a failed result voids them. With one input, its failure is thrown in place of a result;
   * with several it is in the result. Files are uploaded by themselves where that is better.
   *
   * While iterating, {@link EmbedwireError} is thrown where the call fails, or its only input; and the error of Node.js
   * where a file cannot be read.
   *
   * @param model - name or alias of the model, for instance "marengo3.0".
   * @param inputs - what to embed, 1 to 256.
   * @throws TypeError - an argument cannot be used; nothing was sent.
   */
  stream(model: string, inputs: Input | readonly Input[], options: CallOptions = {}): EventStream {
    const wanted = listed(inputs);
    const header = requests.header(model, options);
    const call = this.#connection.call(options, defaultMs(wanted));
    const plan = () => requests.plan(header, wanted, options.chunkBytes);
    return new EventStream({ channel: this.#channel, call, plan, signal: options.signal });
  }

  /**
   * Embed one input and return when it has a result.
   *
   * @throws EmbedwireError - the call failed, or its input.
   */
  embed(model: string, input: Input, options?: CallOptions): Promise<Embedding>;
  /**
   * Embed several inputs and return when all have a result.
   *
   * A failure of the only input is thrown, those among several are in {@link Embedding.failure}.
   *
   * @throws EmbedwireError - the call failed.
   */
  embed(model: string, inputs: readonly Input[], options?: CallOptions): Promise<Embedding[]>;
  async embed(
    model: string,
    inputs: Input | readonly Input[],
    options: CallOptions = {},
  ): Promise<Embedding | Embedding[]> {
    const events = this.stream(model, inputs, options);
    const collector = new replies.Collector(listed(inputs).length, events.requestId);
    for await (const event of events) collector.add(event);
    return oneOrAll(inputs, collector.embeddings());
  }

  /**
   * Do what {@link Client.embed} does in one message each way: the cheapest call for a short text.
   *
   * @throws TypeError - the files do not fit into a message, or their size cannot be known.
   * @throws RequestError - the answer is larger than 4 MiB (reason REPLY_TOO_LARGE), beside what `embed` throws.
   */
  embedUnary(model: string, input: Input, options?: CallOptions): Promise<Embedding>;
  /** The same for several inputs. */
  embedUnary(model: string, inputs: readonly Input[], options?: CallOptions): Promise<Embedding[]>;
  async embedUnary(
    model: string,
    inputs: Input | readonly Input[],
    options: CallOptions = {},
  ): Promise<Embedding | Embedding[]> {
    const wanted = listed(inputs);
    const header = requests.header(model, options);
    const call = this.#connection.call(options, defaultMs(wanted));
    const message = await requests.unary(header, wanted);
    const answer = await this.#channel.unary(
      EmbeddingService.method.createEmbeddingUnary,
      message,
      call,
      options.signal,
    );
    return oneOrAll(inputs, replies.unary(answer, wanted.length, call.requestId));
  }

  /**
   * What each model accepts and returns.
   *
   * @throws EmbedwireError - the call failed.
   */
  async models(options: Pick<CallOptions, "timeoutMs" | "requestId" | "signal"> = {}): Promise<Model[]> {
    const found: Model[] = [];
    let pageToken = "";
    do {
      const call = this.#connection.call(options, TEXT_MS);
      const request = create(ListModelsRequestSchema, { pageToken });
      const page = await this.#channel.unary(EmbeddingService.method.listModels, request, call, options.signal);
      found.push(...page.models.map(replies.model));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    return found;
  }
}

function defaultMs(inputs: readonly Input[]): number {
  return inputs.some((input) => "audio" in input) ? AUDIO_MS : TEXT_MS;
}

function oneOrAll(inputs: Input | readonly Input[], found: Embedding[]): Embedding | Embedding[] {
  const [first] = found;
  return isList(inputs) || first === undefined ? found : first;
}
