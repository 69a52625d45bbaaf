import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { type Input } from "@embedwire/client";
import { type SpanContext, TraceFlags, context, propagation, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { W3CTraceContextPropagator } from "@opentelemetry/core";

import { type CreateCall, embedAll, fake } from "./fake.mjs";

const PICTURE: Input = { image: { url: "http://media.test/a.png" } };
const SPAN: SpanContext = {
  traceId: "0af7651916cd43dd8448eb211c80319c",
  spanId: "b7ad6b7169203331",
  traceFlags: TraceFlags.SAMPLED,
};
const PARENT = `00-${SPAN.traceId}-${SPAN.spanId}-01`;

describe("the trace context", () => {
  const seen: unknown[] = [];
  const create = (call: CreateCall) => {
    seen.push(call.metadata.get("traceparent")[0]);
    embedAll(call);
  };

  before(() => context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable()));

  after(() => {
    context.disable();
    propagation.disable();
  });

  it("is sent with each call, also with those of a run that is read elsewhere", async () => {
    propagation.setGlobalPropagator(new W3CTraceContextPropagator());
    await using server = await fake({ create });
    const traced = trace.setSpanContext(context.active(), SPAN);
    await context.with(traced, () => server.client.embed("m", PICTURE));
    const run = context.with(traced, () => server.client.map("m", [PICTURE, PICTURE], { inputsPerCall: 1 }));
    for await (const { failure } of run) assert.equal(failure, undefined);
    await server.client.embed("m", PICTURE);
    assert.deepEqual(seen.splice(0), [PARENT, PARENT, PARENT, undefined]);
  });

  it("never fails a call", async () => {
    propagation.disable();
    propagation.setGlobalPropagator({
      inject: () => {
        throw new Error("no tracing");
      },
      extract: (active) => active,
      fields: () => [],
    });
    await using server = await fake({ create });
    await server.client.embed("m", PICTURE);
    assert.deepEqual(seen.splice(0), [undefined]);
  });
});
