import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";

import { type Client, type Embedding, type Input, type MapOptions } from "@embedwire/client";

import { type Failure, failureOf } from "../src/errors.js";
import { ErrorReason } from "../src/generated/embedwire/v1/error_reason_pb.js";
import { Pacing } from "../src/map/pacing.js";
import {
  type Asked,
  type CreateCall,
  type UploadCall,
  embedAll,
  fail,
  fake,
  overload,
  result,
  until,
} from "./fake.mjs";

async function embeddings(client: Client, inputs: readonly Input[], options?: MapOptions): Promise<Embedding[]> {
  const found: Embedding[] = [];
  for await (const embedding of client.map("m", inputs, options)) found.push(embedding);
  return found;
}

function hash(data: Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

describe("an input that was rejected", () => {
  let folder = "";
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "embedwire-map-"));
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  it("is sent again until it is accepted", async () => {
    const sizes: number[] = [];
    const create = (call: CreateCall) => {
      sizes.push(call.request.inputs.length);
      if (sizes.length < 6) overload(call, 1);
      else embedAll(call);
    };
    await using server = await fake({ create });
    const inputs = Array.from({ length: 5 }, (_, index) => ({ text: "a", key: String(index) }));
    const found = await embeddings(server.client, inputs, { inputsPerCall: 5 });
    assert.deepEqual(sizes, [5, 5, 5, 5, 5, 5]);
    for (const { failure, result } of found)
      assert.deepEqual([failure, result.inputKey], [undefined, String(result.inputIndex)]);
  });

  it("is not counted against the timeout of its run, unless waits count", async () => {
    const run = async (countWaits: boolean) => {
      let calls = 0;
      const create = (call: CreateCall) => {
        if (calls++ === 0) overload(call, 2600);
        else embedAll(call);
      };
      await using server = await fake({ create });
      return await embeddings(server.client, [{ text: "a" }], { runTimeoutMs: 2500, countWaits });
    };
    const counted = assert.rejects(run(true), { reason: "DEADLINE_EXCEEDED" });
    const [embedding] = await run(false);
    assert.equal(embedding?.failure, undefined);
    await counted;
  });

  it("is read again from its file, with the same bytes", async () => {
    const bytes = randomBytes(3 << 20);
    const path = join(folder, "large.png");
    writeFileSync(path, bytes);
    const got: Buffer[][] = [];
    const upload = (call: UploadCall) => {
      const chunks: Buffer[] = [];
      got.push(chunks);
      const isRejected = got.length < 3;
      call.on("data", ({ payload }: Asked) => {
        if (payload.case !== "chunk") return;
        chunks.push(Buffer.from(payload.value.data));
        if (isRejected && chunks.length === 2) overload(call, 1);
        if (isRejected || !payload.value.last) return;
        call.write(result(0, 0));
        call.end();
      });
    };
    await using server = await fake({ upload });
    for (const image of [{ path }, { data: bytes }, { data: new Blob([bytes]) }]) {
      got.length = 0;
      const [embedding] = await embeddings(server.client, [{ image }]);
      assert.equal(embedding?.failure, undefined);
      assert.equal(hash(Buffer.concat(got[2] ?? [])), hash(bytes));
    }
  });

  it("ends with the rejection if its bytes come only once: from a stream, or from a pipe that is given as a path", async () => {
    const path = join(folder, "pipe");
    execFileSync("mkfifo", [path]);
    let calls = 0;
    const upload = (call: UploadCall) => {
      calls += 1;
      call.on("data", ({ payload }: Asked) => {
        if (payload.case === "chunk") overload(call, 1);
      });
    };
    await using server = await fake({ upload });
    async function* stream() {
      yield await Promise.resolve(randomBytes(8));
    }
    const writer = await open(path, "r+"); // for reading too: opening does not wait, and the pipe has no end
    await writer.write(randomBytes(8));
    const found = await embeddings(server.client, [{ image: { path } }, { audio: { stream: stream() } }]);
    await writer.close();
    for (const { failure } of found) assert.equal(failure?.reason, "OVERLOADED");
    assert.deepEqual([found.length, calls], [2, 2]);
  });

  it("does not hold up other inputs if it is an upload that is rejected again and again", async () => {
    let texts = 0;
    const create = (call: CreateCall) => {
      texts += call.request.inputs.length;
      embedAll(call);
    };
    const upload = (call: UploadCall) => {
      if (texts < 20) overload(call, 1);
      else {
        call.write(result(0, 0));
        call.end();
      }
    };
    await using server = await fake({ create, upload });
    const large = { audio: { data: Buffer.alloc(2 << 20) } };
    const inputs = [large, ...Array.from({ length: 20 }, () => ({ text: "a" }))];
    const found = await embeddings(server.client, inputs, { inputsPerCall: 21, concurrentCalls: 1 });
    assert.ok(found.length === 21 && found.every(({ failure }) => failure === undefined));
  });

  it("does not wait for a call that runs for long", async () => {
    let calls = 0;
    const create = (call: CreateCall) => {
      if (calls++ === 0) overload(call, 1);
      else embedAll(call);
    };
    let isUploading: () => void = () => undefined;
    const uploading = new Promise<void>((resolve) => (isUploading = resolve));
    await using server = await fake({
      create,
      upload: () => {
        isUploading();
      },
    });
    async function* blocked() {
      yield await Promise.resolve(Buffer.of(1));
      await new Promise(() => undefined);
    }
    async function* inputs() {
      yield { audio: { stream: blocked() } };
      await uploading;
      yield { text: "a" };
    }
    const run = server.client.map("m", inputs(), { inputsPerCall: 1 });
    const { value } = await run.next();
    assert.deepEqual([value?.result.inputIndex, value?.failure, calls], [1, undefined, 2]);
    await run.return();
  });

  it("has the code of its failure, also if a proxy has changed the status", async () => {
    const create = (call: CreateCall) => {
      fail(call, { code: 8, reason: ErrorReason.UPSTREAM_QUOTA_EXHAUSTED }, 1);
    };
    await using server = await fake({ create });
    const [embedding] = await embeddings(server.client, [{ text: "a" }]);
    assert.equal(embedding?.failure?.code, "RESOURCE_EXHAUSTED");
  });

  it("is followed by more calls at a time, also if these fail for reasons of their own", async () => {
    let [calls, running, most] = [0, 0, 0];
    const create = (call: CreateCall) => {
      running += 1;
      if (calls++ < 8) overload(call, 1);
      else {
        most = Math.max(most, running);
        setTimeout(() => {
          running -= 1;
          fail(call, { code: 3, reason: ErrorReason.INPUT_REJECTED });
        }, 5);
        return;
      }
      running -= 1;
    };
    await using server = await fake({ create });
    const inputs = Array.from({ length: 40 }, () => ({ text: "a" }));
    await embeddings(server.client, inputs, { inputsPerCall: 1 });
    assert.ok(most > 1);
  });

  it("does not wait for a source that is blocked", async () => {
    async function* blocked() {
      yield await Promise.resolve(randomBytes(8));
      await new Promise(() => undefined);
    }
    let isCancelled = false;
    let onChunk: (call: UploadCall) => unknown = (call) => {
      overload(call, 1);
    };
    const upload = (call: UploadCall) => {
      call.on("cancelled", () => (isCancelled = true));
      call.on("data", ({ payload }: Asked) => payload.case === "chunk" && onChunk(call));
    };
    await using server = await fake({ upload });
    const [embedding] = await embeddings(server.client, [{ image: { stream: blocked() } }]);
    assert.equal(embedding?.failure?.reason, "OVERLOADED");
    const run = server.client.map("m", [{ image: { stream: blocked() } }]);
    onChunk = () => run.return();
    assert.equal((await run.next()).done, true);
    await until(() => isCancelled);
  });
});

describe("the pacing of a run", () => {
  const failure = (reason: string, retryDelayMs?: number): Failure => ({ ...failureOf("", reason, ""), retryDelayMs });

  it("lowers the calls at a time to those that are running, and raises it with each success", () => {
    const pacing = new Pacing(8);
    assert.deepEqual([pacing.nextAt(7), pacing.nextAt(8)], [0, Infinity]);
    pacing.rejected([failure("OVERLOADED", 5000)], 3, 0, 0);
    assert.deepEqual([pacing.nextAt(2), pacing.nextAt(3)], [0, 5000]);
    for (let call = 0; call < 4; call++) pacing.completed(); // 3 + 1/3 + 3/10 + ... > 4
    assert.deepEqual([pacing.nextAt(3), pacing.nextAt(4)], [0, 5000]);
    for (let call = 0; call < 100; call++) pacing.completed();
    assert.deepEqual([pacing.nextAt(7), pacing.nextAt(8)], [0, Infinity]);
  });

  it("sends one call more after the delay, and waits for a day at most", () => {
    const pacing = new Pacing(8);
    pacing.rejected([failure("OVERLOADED", 1e12)], 3, 0, 0);
    assert.equal(pacing.nextAt(3), 24 * 3_600_000);
    pacing.sent(3);
    assert.deepEqual([pacing.nextAt(3), pacing.nextAt(4)], [0, Infinity]);
  });

  it("pauses for the longest delay if no call is running, or if it is not about places", () => {
    for (const [reason, running] of [
      ["OVERLOADED", 0],
      ["RATE_LIMITED", 5],
      ["DRAINING", 5],
    ] as const) {
      const pacing = new Pacing(8);
      pacing.rejected([failure(reason, 300), failure(reason, 700), failure(reason)], running, 0, 1000);
      assert.equal(pacing.nextAt(0), 1700, reason);
      pacing.rejected([failure(reason, 500)], running, 0, 1500);
      assert.deepEqual([pacing.pausedUntil, pacing.pausedMs], [2000, 1000]);
    }
  });

  it("backs off from 100 ms up to 5 s without a delay, until a success", () => {
    const pacing = new Pacing(8);
    const backOff = () => {
      const now = pacing.pausedUntil;
      pacing.rejected([failure("DRAINING", 0)], 0, now, now);
      pacing.rejected([failure("DRAINING", 0)], 0, now - 1, now); // it was sent before: the same back-off
      return pacing.pausedUntil - now;
    };
    for (const expected of [100, 200, 400, 800, 1600, 3200, 5000, 5000]) {
      const delay = backOff();
      assert.ok(delay >= 0.8 * expected && delay <= 1.2 * expected, `${String(delay)} ms for ${String(expected)}`);
    }
    pacing.completed();
    assert.ok(backOff() <= 120);
  });
});
