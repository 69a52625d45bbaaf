import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { create } from "@bufbuild/protobuf";
import { type AudioInput, type Input, RequestError } from "@embedwire/client";

import { defaultMs } from "../src/deadlines.js";
import * as pb from "../src/generated/embedwire/v1/embedding_pb.js";
import { type CreateCall, fake, result } from "./fake.mjs";

const URL = "http://media.test/a.mp3";

async function requested(inputs: readonly Input[]): Promise<pb.CreateEmbeddingRequest> {
  let request: pb.CreateEmbeddingRequest | undefined;
  const answer = (call: CreateCall) => {
    request = call.request;
    for (const index of inputs.keys()) call.write(result(index, 0));
    call.end();
  };
  await using server = await fake({ create: answer });
  await server.client.embed("m", inputs);
  assert.ok(request);
  return request;
}

describe("the options of audio", () => {
  it("are sent as they are given, and left out if they are not", async () => {
    const options = {
      startOffsetSec: 0,
      endOffsetSec: 9.5,
      segmentation: { dynamic: { minDurationSec: 2 } },
      embeddingOptions: ["audio"],
      embeddingScopes: ["clip", "asset"],
      embeddingTypes: ["fused_embedding"],
      processingMode: "task",
    } as const;
    const { inputs } = await requested([{ audio: { url: URL, ...options } }, { audio: { assetId: "a-1" } }]);
    const [first, second] = inputs.map(({ modality }) => modality.value as pb.AudioInput);
    const { startOffsetSec, endOffsetSec, embeddingOptions, embeddingScopes, embeddingTypes } = first ?? assert.fail();
    assert.deepEqual(
      { startOffsetSec, endOffsetSec, embeddingOptions, embeddingScopes, embeddingTypes },
      {
        startOffsetSec: 0,
        endOffsetSec: 9.5,
        embeddingOptions: ["audio"],
        embeddingScopes: ["clip", "asset"],
        embeddingTypes: ["fused_embedding"],
      },
    );
    assert.equal(first?.processingMode, pb.ProcessingMode.TASK);
    assert.equal(first.segmentation?.method.case, "dynamic");
    assert.deepEqual(
      [second?.startOffsetSec, second?.endOffsetSec, second?.segmentation, second?.embeddingOptions],
      [undefined, undefined, undefined, []],
    );
    assert.equal(second?.processingMode, pb.ProcessingMode.UNSPECIFIED);
  });

  it("include sources that need no bytes: an asset, and an earlier task", async () => {
    const { inputs } = await requested([
      { image: { assetId: "a-1" } },
      { audio: { assetId: "a-2" } },
      { audio: { taskId: "t-1" } },
    ]);
    const sources = inputs.map(({ modality }) => (modality.value as pb.AudioInput | pb.ImageInput).source?.source);
    assert.deepEqual(
      sources.map((source) => [source?.case, (source?.value as pb.AssetSource | pb.TaskSource).id]),
      [
        ["asset", "a-1"],
        ["asset", "a-2"],
        ["task", "t-1"],
      ],
    );
  });

  it("are excluded by the types beside a task, as tasks are beside images", () => {
    const given: AudioInput = { audio: { taskId: "t-1" }, key: "k" };
    // @ts-expect-error a task has its options already
    const withOption: AudioInput = { audio: { taskId: "t-1", processingMode: "task" } };
    // @ts-expect-error there is one source
    const withUrl: AudioInput = { audio: { taskId: "t-1", url: URL } };
    // @ts-expect-error only audio is processed by tasks
    const image: Input = { image: { taskId: "t-1" } };
    assert.equal(new Set([given, withOption, withUrl, image]).size, 4);
  });
});

describe("the default deadline", () => {
  it("is that of tasks unless there is no audio, or all of it is synchronous", () => {
    const sync: Input = { audio: { url: URL, processingMode: "sync" } };
    const text: Input = { text: "a" };
    assert.equal(defaultMs([text, { image: { url: URL } }]), 60_000);
    assert.equal(defaultMs([text, sync, sync]), 600_000);
    for (const audio of [{ url: URL }, { url: URL, processingMode: "task" as const }, { taskId: "t-1" }])
      assert.equal(defaultMs([sync, { audio }, text]), 3_600_000);
  });
});

describe("a result", () => {
  it("has numbers of tokens, the task, the cache status, the scope, and an uncertainty in a separate buffer", async () => {
    const floats = (...values: number[]) => Buffer.from(Float32Array.of(...values).buffer);
    const vector = { dimensions: 2, form: { case: "float32Le", value: floats(1, 2) } } as const;
    const uncertainty = { dimensions: 2, form: { case: "float32Le", value: floats(0.5, 0.25) } } as const;
    const modality = { case: "audio", value: { embeddingOption: "audio", embeddingScope: "asset" } } as const;
    const ended = {
      segmentCount: 1,
      inputTokens: { audio: 9007199254740991n },
      upstreamTaskId: "t-1",
      cacheStatus: pb.CacheStatus.HIT,
    };
    const answer = (call: CreateCall) => {
      assert.deepEqual([call.request.dimensions, call.request.includeUncertainty], [2, true]);
      const segment = { event: { case: "segment", value: { vector, uncertainty, modality } } } as const;
      const result = { event: { case: "result", value: ended } } as const;
      call.write(create(pb.CreateEmbeddingFromUploadResponseSchema, { events: [segment, result] }));
      call.end();
    };
    await using server = await fake({ create: answer });
    const options = { dimensions: 2, includeUncertainty: true };
    const found = await server.client.embed("m", { audio: { taskId: "t-1" } }, options);
    assert.deepEqual([found.result.inputTokens, found.result.upstreamTaskId], [{ audio: 9007199254740991 }, "t-1"]);
    assert.equal(found.result.cacheStatus, "hit");
    const [segment] = found.segments;
    assert.equal(segment?.embeddingScope, "asset");
    assert.deepEqual(segment.uncertainty, Float32Array.of(0.5, 0.25));
    assert.equal(segment.uncertainty.buffer.byteLength, 8);
  });

  it("is an error of the request if the upstream does not know the task", async () => {
    const failure = { code: 5, reason: 15, message: "no such task", upstreamTaskId: "t-1" };
    const answer = (call: CreateCall) => {
      call.write(result(0, 0, failure));
      call.write(result(1, 0, { ...failure, upstreamError: { traceId: "trace" } }));
      call.end();
    };
    await using server = await fake({ create: answer });
    const found = await server.client.embed("m", [{ audio: { taskId: "t-1" } }, { audio: { taskId: "t-1" } }]);
    assert.throws(
      () => found[0]?.vector,
      (error) => {
        assert.ok(error instanceof RequestError);
        assert.deepEqual([error.reason, error.upstreamTaskId], ["UPSTREAM_TASK_NOT_FOUND", "t-1"]);
        return true;
      },
    );
    assert.equal(found[1]?.failure?.upstream?.traceId, "trace");
  });
});
