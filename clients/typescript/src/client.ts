/** The client. */

import { create } from "@bufbuild/protobuf";

import { Channels } from "./calls.js";
import { Connection } from "./connection.js";
import { TEXT_MS, defaultMs } from "./deadlines.js";
import { EventStream } from "./events.js";
import { EmbeddingService, ListModelsRequestSchema } from "./generated/embedwire/v1/embedding_pb.js";
import { type Input, type TextInput, given, listed } from "./inputs.js";
import { type OpenCall, Run } from "./map/run.js";
import {
  type CallOptions,
  type ClientOptions,
  type EmbedOptions,
  type MapOptions,
  checkCallOptions,
  checkEmbedOptions,
  checkMapOptions,
} from "./options.js";
import * as replies from "./replies.js";
import * as requests from "./requests.js";
import type { Embedding, Model } from "./results.js";
import { Stream } from "./stream.js";
import { traceHeaders } from "./tracing.js";

const { method: METHODS } = EmbeddingService;

/** The default target. */
export const DEFAULT_TARGET = "127.0.0.1:50051";

/**
 * A client of an Embedwire server. It accepts any number of concurrent calls; create one and reuse it. The first call
 * opens the connection.
 */
export class Client implements AsyncDisposable {
  readonly #connection: Connection;
  readonly #channels: Channels;

  /**
   * Create a client.
   *
   * @param target - HOST:PORT, or another gRPC target such as "dns:///embeddings.internal:443".
   * @param options - TLS, credentials, deadlines, connections.
   * @throws TypeError - an argument is invalid, or a credential would be sent in plaintext to a non-loopback address.
   */
  constructor(target: string = DEFAULT_TARGET, options: ClientOptions = {}) {
    this.#connection = new Connection(target, options);
    this.#channels = new Channels(this.#connection);
  }

  /** Close the connections. Running and later calls fail with {@link ClosedError}. */
  close(): void {
    this.#channels.close();
  }

  /** For `await using`: the same as {@link Client.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  /**
   * Embed 1 to 256 inputs and yield each segment and result as it arrives.
   *
   * Segments of one input arrive in order, inputs interleave, and each input ends with its result. An input that the
   * upstream processes as an asset or as a task also has {@link Progress}, before its segments. Segments are
   * provisional until then: a failed result invalidates them. If there is one input, its failure is thrown in place of
   * a result; among several inputs, a failure is in the result. Files of together at most 1 MiB are sent in the
   * request; all others are uploaded in chunks.
   *
   * Iterating throws {@link EmbedwireError} if the call or its only input fails, and the error of Node.js if a file
   * cannot be read.
   *
   * @param model - name or alias of the model, for instance "marengo3.0".
   * @param inputs - one input, or 1 to 256 inputs.
   * @param options - deadline, retries, request id, signal.
   * @throws TypeError - an argument is invalid; nothing was sent.
   * @throws ClosedError - the client is closed.
   */
  stream(model: string, inputs: Input | readonly Input[], options: CallOptions = {}): EventStream {
    return this.#stream(model, listed(inputs), options);
  }

  /**
   * Embed one input and resolve with its embedding.
   *
   * A text is sent by the unary RPC, which costs less than a stream.
   *
   * @param model - name or alias of the model, for instance "marengo3.0".
   * @param input - the input.
   * @param options - deadline, retries, request id, signal, function for progress.
   * @throws EmbedwireError - the call or its input failed.
   * @throws TypeError - an argument is invalid; nothing was sent.
   * @throws Error - of Node.js: a file cannot be read.
   * @throws ClosedError - the client is closed.
   */
  embed(model: string, input: Input, options?: EmbedOptions): Promise<Embedding>;
  /**
   * Embed 1 to 256 inputs and resolve with one embedding for each, in the order of the inputs.
   *
   * If there is one input, its failure is thrown; among several inputs, failures are in {@link Embedding.failure}.
   *
   * @param model - name or alias of the model, for instance "marengo3.0".
   * @param inputs - the inputs.
   * @param options - deadline, retries, request id, signal, function for progress.
   * @throws EmbedwireError - the call or its only input failed.
   * @throws TypeError - an argument is invalid; nothing was sent.
   * @throws Error - of Node.js: a file cannot be read.
   * @throws ClosedError - the client is closed.
   */
  embed(model: string, inputs: readonly Input[], options?: EmbedOptions): Promise<Embedding[]>;
  async embed(
    model: string,
    inputs: Input | readonly Input[],
    options: EmbedOptions = {},
  ): Promise<Embedding | Embedding[]> {
    const found = await this.#embed(model, listed(inputs), options);
    return Array.isArray(inputs) ? found : (found[0] ?? found);
  }

  /**
   * Embed any number of inputs in concurrent calls of several inputs each, and yield one embedding for each input, in
   * the order of arrival.
   *
   * The `inputIndex` of a result is the position of its input in the iterator. Each input that was read ends with
   * vectors or with {@link Embedding.failure}; nothing is thrown for it. Inputs that the server rejects (OVERLOADED,
   * RATE_LIMITED, DRAINING) are sent again until the server accepts them. An input for which the upstream has created
   * a task is not: it ends with the failure, whose `upstreamTaskId` can be the source of another input. At most `inputsPerCall * concurrentCalls`
   * inputs are read ahead of the embeddings that the loop has received, so memory is bounded.
   *
   * Iterating throws the error of the iterator, or TypeError for a value that is not an input, after the inputs before
   * it have ended; {@link DeadlineExceededError} at the end of `runTimeoutMs`; {@link ClosedError} if the client is
   * closed.
   *
   * @param model - name or alias of the model, for instance "marengo3.0".
   * @param inputs - an iterable or async iterable of inputs. Leaving the loop closes its iterator.
   * @param options - sizes, timeouts, signal.
   * @throws TypeError - an argument is invalid; nothing was read.
   * @throws ClosedError - the client is closed.
   */
  map(model: string, inputs: Iterable<Input> | AsyncIterable<Input>, options: MapOptions = {}): Stream<Embedding> {
    this.#channels.lifetime.check();
    checkMapOptions(options);
    if (!isIterable(inputs)) throw new TypeError("inputs: must be an iterable or an async iterable of inputs");
    const openCall = this.#openCall(model, options);
    return new Stream(
      (signal) => new Run(inputs, options, openCall).embeddings(signal),
      (stopper) => this.#channels.lifetime.follow(stopper, options.signal),
    );
  }

  /**
   * Return what each model accepts and returns.
   *
   * @param options - deadline (60 s by default), request id, signal.
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

  /** Return a function that makes the calls of a run. All have the trace context in which the run was created. */
  #openCall(model: string, options: MapOptions): OpenCall {
    const header = requests.header(model, options);
    const trace = traceHeaders();
    return (inputs, encoded, timeoutMs, signal) => {
      const call = { ...this.#connection.call({ timeoutMs }, defaultMs(inputs), trace), attempts: 1 };
      const plan = () => Promise.resolve(requests.planOf(header, encoded, options.chunkBytes));
      const events = new EventStream({ channels: this.#channels, call, plan, signal });
      return { events, timeoutMs: call.timeoutMs };
    };
  }

  async #embed(model: string, inputs: readonly Input[], options: EmbedOptions): Promise<Embedding[]> {
    checkEmbedOptions(options);
    const only = inputs.length === 1 && inputs[0] !== undefined ? given(inputs[0]) : undefined;
    if (only?.name === "text") return [await this.#unary(model, only.value, options)];
    const events = this.#stream(model, inputs, options);
    const collector = new replies.Collector(inputs.length, events.requestId);
    for await (const event of events) {
      collector.add(event);
      if (event.type === "progress") options.onProgress?.(event);
    }
    return collector.embeddings();
  }

  /** Embed one text by the unary RPC, the cheapest call. */
  async #unary(model: string, input: TextInput, options: CallOptions): Promise<Embedding> {
    const request = requests.unary(requests.header(model, options), input);
    const call = this.#connection.call(options, TEXT_MS);
    const answer = await this.#channels.unary(METHODS.createEmbeddingUnary, request, call, options.signal);
    return replies.onlyEmbedding(answer, call.requestId);
  }
}

function isIterable(inputs: unknown): boolean {
  return typeof inputs === "object" && inputs !== null && (Symbol.iterator in inputs || Symbol.asyncIterator in inputs);
}
