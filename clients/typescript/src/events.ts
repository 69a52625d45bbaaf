/** The stream of events of one call. */

import { status as StatusCode } from "@grpc/grpc-js";

import { Attempts, pause } from "./attempts.js";
import { type Channels, type StreamingCall, ended } from "./calls.js";
import type { CallArguments } from "./connection.js";
import { errorOfStatus } from "./details.js";
import { onAbort } from "./lifetime.js";
import { type Response, eventsOf } from "./replies.js";
import type { Plan } from "./requests.js";
import type { Event } from "./results.js";
import { Stream } from "./stream.js";
import { Upload } from "./uploads.js";

/**
 * The arguments of a call.
 *
 * @internal
 */
export interface StreamArguments {
  readonly channels: Channels;
  readonly call: CallArguments;
  readonly plan: () => Promise<Plan>;
  readonly signal: AbortSignal | undefined;
}

/**
 * The events of one call.
 *
 * The call is sent when the first event is requested. Flow control limits the server to the pace of the reader, so
 * memory is bounded.
 */
export class EventStream extends Stream<Event> {
  /** Id of the call in the server's log. */
  readonly requestId: string;

  /** @internal */
  constructor(made: StreamArguments) {
    super(
      (signal) => events(made, signal),
      (stopper) => made.channels.lifetime.follow(stopper, made.signal),
    );
    this.requestId = made.call.requestId;
  }
}

async function* events(made: StreamArguments, signal: AbortSignal): AsyncGenerator<Event, void, undefined> {
  const plan = await made.plan();
  const attempts = new Attempts(made.call);
  for (;;) {
    signal.throwIfAborted();
    const delay = yield* attempt(made, plan, attempts, signal);
    if (delay === undefined) return;
    await pause(delay, signal);
  }
}

/** Make an attempt and yield its events. Returns the milliseconds until the retry, if there is one. */
async function* attempt(
  { channels, call: made }: StreamArguments,
  plan: Plan,
  attempts: Attempts,
  signal: AbortSignal,
): AsyncGenerator<Event, number | undefined, undefined> {
  const uploading = plan.uploads.size > 0 ? channels.upload(made, attempts) : undefined;
  const call: StreamingCall = uploading ?? channels.create(plan.request, made, attempts);
  const ending = ended(call);
  const upload = uploading && new Upload(plan, uploading, ending);
  const release = onAbort(signal, () => {
    call.cancel();
  });
  let isAnswered = false;
  let taskId = ""; // the last one of the only input
  try {
    for await (const message of messages(call)) {
      isAnswered = true;
      for (const event of eventsOf(message, made.requestId)) {
        if (event.type === "result") upload?.answered(event.inputIndex);
        if (event.type === "progress" && plan.request.inputs.length === 1) taskId = event.upstreamTaskId || taskId;
        yield event;
      }
    }
    const status = await ending;
    if (status.code === StatusCode.OK) return undefined;
    signal.throwIfAborted();
    const delay = isAnswered || upload ? undefined : attempts.delayMs(status);
    if (delay === undefined) throw upload?.error ?? errorOfStatus(status, made.requestId, taskId);
    return delay;
  } finally {
    release();
    call.cancel();
  }
}

/** Yield the messages of a call until it ends. Its status has the error. */
async function* messages(call: StreamingCall): AsyncGenerator<Response, void, undefined> {
  const source: AsyncIterator<Response> = call[Symbol.asyncIterator]();
  for (;;) {
    const next = await source.next().catch(() => undefined);
    if (next === undefined || next.done === true) return;
    yield next.value;
  }
}
