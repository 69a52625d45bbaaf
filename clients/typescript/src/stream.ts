/** The events of one call, as they arrive. */

import { type StatusObject, status as StatusCode } from "@grpc/grpc-js";

import { Attempts, pause } from "./attempts.js";
import { type Channel, type StreamingCall, ended, onAbort } from "./calls.js";
import type { CallArguments } from "./connection.js";
import { errorOfStatus } from "./details.js";
import { type Response, event } from "./replies.js";
import type { Plan } from "./requests.js";
import type { Event } from "./results.js";
import { Upload } from "./uploads.js";

/** What a stream is made with. */
export interface StreamArguments {
  readonly channel: Channel;
  readonly call: CallArguments;
  readonly plan: () => Promise<Plan>;
  readonly signal: AbortSignal | undefined;
}

/**
 * The events of one call, for `for await`.
 *
 * The call is sent when the first event is asked for, and events are taken from the connection as fast as they are
 * asked for: a slow reader slows the server down, and nothing piles up here. Leaving the loop ends the call.
 */
export class EventStream implements AsyncIterableIterator<Event, void, undefined>, AsyncDisposable {
  /** The id of the call, under which the server's log has the details. */
  readonly requestId: string;

  readonly #events: AsyncGenerator<Event, void, undefined>;
  #isLeft = false;
  #cancel: (() => void) | undefined;

  /** Made by the client. */
  constructor(made: StreamArguments) {
    this.requestId = made.call.requestId;
    this.#events = this.#run(made);
  }

  /**
   * The next event.
   *
   * @throws EmbedwireError - the call failed, or its only input.
   */
  next(): Promise<IteratorResult<Event, void>> {
    return this.#events.next();
  }

  /** End the call, if it still runs; nothing more comes then. `for await` calls it where its loop is left. */
  return(): Promise<IteratorResult<Event, void>> {
    this.#isLeft = true;
    this.#cancel?.(); // a pending next() ends with it
    return this.#events.return();
  }

  /** Itself. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /** For `await using`: the same as {@link EventStream.return}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  async *#run(made: StreamArguments): AsyncGenerator<Event, void, undefined> {
    const { signal } = made;
    signal?.throwIfAborted();
    const plan = await made.plan();
    const attempts = new Attempts(made.call);
    for (;;) {
      signal?.throwIfAborted();
      if (this.#isLeft) return;
      const delay = yield* this.#attempt(made, plan, attempts);
      if (delay === undefined) return;
      const waiting = new AbortController();
      const release = this.#onEnd(signal, () => {
        waiting.abort();
      });
      await pause(delay, waiting.signal);
      release();
    }
  }

  /** Milliseconds until the next attempt, if this was refused and there is one. */
  async *#attempt(
    { channel, call: made, signal }: StreamArguments,
    plan: Plan,
    attempts: Attempts,
  ): AsyncGenerator<Event, number | undefined, undefined> {
    const uploading = plan.uploads.size > 0 ? channel.upload(made, attempts) : undefined;
    const call: StreamingCall = uploading ?? channel.create(plan.request, made, attempts);
    const ending = ended(call);
    const upload = uploading && new Upload(plan, uploading, ending);
    const release = this.#onEnd(signal, () => {
      call.cancel();
    });
    let isAnswered = false;
    try {
      for await (const message of messages(call)) {
        isAnswered = true;
        const found = event(message, made.requestId);
        if (found?.type === "result") upload?.answered(found.inputIndex);
        if (found !== undefined) yield found;
      }
      const status = await ending;
      if (status.code === StatusCode.OK) return undefined;
      const delay = isAnswered || upload ? undefined : attempts.delayMs(status);
      if (delay === undefined) this.#fail(status, upload, signal);
      return delay;
    } finally {
      release();
      call.cancel();
    }
  }

  /** Do something when the call is left or aborted; returns what takes that back. */
  #onEnd(signal: AbortSignal | undefined, act: () => void): () => void {
    this.#cancel = act;
    return onAbort(signal, act);
  }

  /** Throw what ended the call, unless that was leaving it. */
  #fail(status: StatusObject, upload: Upload | undefined, signal: AbortSignal | undefined): void {
    if (this.#isLeft) return;
    signal?.throwIfAborted();
    throw upload?.error ?? errorOfStatus(status, this.requestId);
  }
}

/** The messages of a call. They end where it ends; how, its status says. */
async function* messages(call: StreamingCall): AsyncGenerator<Response, void, undefined> {
  const source: AsyncIterator<Response> = call[Symbol.asyncIterator]();
  for (;;) {
    const next = await source.next().catch(() => undefined);
    if (next === undefined || next.done === true) return;
    yield next.value;
  }
}
