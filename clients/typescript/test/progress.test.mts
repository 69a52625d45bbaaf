import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { EmbedwireError, type Input, type Progress } from "@embedwire/client";

import { ProgressStage } from "../src/generated/embedwire/v1/embedding_pb.js";
import { ErrorReason } from "../src/generated/embedwire/v1/error_reason_pb.js";
import { type CreateCall, drained, embedAll, fail, fake, positions, progress, result, until } from "./fake.mjs";

const { PREPARING, PROCESSING } = ProgressStage;
const LATER = 99 as unknown as ProgressStage; // of a later contract
const AUDIO: Input = { audio: { url: "http://media.test/a.mp3" } };

describe("progress", () => {
  it("is an event of a stream, and is passed to the function of a call that collects", async () => {
    const create = (call: CreateCall) => {
      call.write(progress(0, PREPARING));
      call.write(progress(0, LATER));
      call.write(progress(0, PROCESSING, "t-1"));
      call.write(result(0, 0));
      call.end();
    };
    await using server = await fake({ create });
    const streamed: Progress[] = [];
    for await (const event of server.client.stream("m", AUDIO)) if (event.type === "progress") streamed.push(event);
    const reported: Progress[] = [];
    const onProgress = (found: Progress) => void reported.push(found);
    await server.client.embed("m", AUDIO, { onProgress });
    await server.client.embed("m", AUDIO);
    assert.deepEqual(
      reported.map(({ stage, upstreamTaskId }) => [stage, upstreamTaskId]),
      [
        ["preparing", ""],
        ["unknown", ""],
        ["processing", "t-1"],
      ],
    );
    assert.deepEqual(reported, streamed);
  });

  it("ends the call, or the run, with what its function throws", async () => {
    let cancelled = 0;
    const create = (call: CreateCall) => {
      call.on("cancelled", () => cancelled++);
      call.write(progress(0, PREPARING));
    };
    await using server = await fake({ create });
    const thrown = new Error("of the caller");
    const onProgress = () => {
      throw thrown;
    };
    await assert.rejects(server.client.embed("m", AUDIO, { onProgress }), thrown);
    const { found, error } = await drained(server.client.map("m", [AUDIO, AUDIO], { onProgress, inputsPerCall: 1 }));
    assert.deepEqual([found, error], [[], thrown]);
    await until(() => cancelled === 3);
  });

  it("has the position of the input in a run, and is not reported after its end", async () => {
    const create = (call: CreateCall) => {
      for (const [index, { key }] of call.request.inputs.entries()) {
        call.write(progress(index, PROCESSING, `task-${key}`));
        call.write(result(index, 0, undefined, key));
      }
      call.end();
    };
    await using server = await fake({ create });
    const inputs = Array.from({ length: 5 }, (_, index) => ({ ...AUDIO, key: String(index) }));
    const reported: Progress[] = [];
    const onProgress = (found: Progress) => void reported.push(found);
    await drained(server.client.map("m", inputs, { inputsPerCall: 2, onProgress }));
    assert.deepEqual(
      reported.map(({ inputIndex, upstreamTaskId }) => [inputIndex, upstreamTaskId]).sort(),
      inputs.map((_, index) => [index, `task-${String(index)}`]),
    );
  });
});

describe("the task of an input", () => {
  it("is in the error of a call with one input, unless the server names another", async () => {
    let isNamed = false;
    const create = (call: CreateCall) => {
      call.write(progress(0, PROCESSING, "t-1"));
      call.write(progress(0, PREPARING));
      const named = isNamed ? { upstreamTaskId: "t-2" } : {};
      setImmediate(() => {
        fail(call, { code: 14, reason: ErrorReason.UPSTREAM_UNAVAILABLE, message: "gone", ...named });
      });
    };
    await using server = await fake({ create });
    const failed = async (inputs: Input | Input[]) => {
      const error: unknown = await server.client.embed("m", inputs as Input).catch((caught: unknown) => caught);
      assert.ok(error instanceof EmbedwireError);
      return error.upstreamTaskId;
    };
    assert.equal(await failed(AUDIO), "t-1");
    assert.equal(await failed([AUDIO, AUDIO]), "");
    isNamed = true;
    assert.equal(await failed(AUDIO), "t-2");
  });

  it("prevents that a run sends it again after an invalid input, a call that is too large, or a rejection", async () => {
    const violation = { field: "inputs[1].audio.source.url", description: "no" };
    const failures = [
      { code: 3, reason: ErrorReason.INVALID_REQUEST, message: "no", fieldViolations: [violation] },
      { code: 8, reason: ErrorReason.RATE_LIMITED, message: "too large" },
      { code: 14, reason: ErrorReason.DRAINING, message: "the server shuts down" },
    ];
    for (const failure of failures) {
      const sizes: number[] = [];
      const create = (call: CreateCall) => {
        sizes.push(call.request.inputs.length);
        if (sizes.length > 1) {
          embedAll(call);
          return;
        }
        call.write(progress(0, PROCESSING, "t-1"));
        setImmediate(() => {
          fail(call, failure);
        });
      };
      await using server = await fake({ create });
      const { found, error } = await drained(server.client.map("m", [AUDIO, AUDIO, AUDIO], { concurrentCalls: 1 }));
      assert.equal(error, undefined);
      assert.deepEqual(positions(found), [0, 1, 2]);
      const mine = found.find((embedding) => embedding.result.inputIndex === 0)?.failure;
      assert.deepEqual([mine?.message, mine?.upstreamTaskId], [failure.message, "t-1"]);
      const others = failure.fieldViolations === undefined ? 2 : 1;
      assert.deepEqual(
        sizes.slice(1).reduce((sum, size) => sum + size, 0),
        others,
      );
    }
  });
});
