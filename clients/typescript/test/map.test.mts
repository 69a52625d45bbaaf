import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { describe, it } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { promisify } from "node:util";

import { ClosedError, DeadlineExceededError } from "@embedwire/client";

import { type CreateCall, drained, embedAll, fake, positions, until } from "./fake.mjs";

const HOUR_MS = 3_600_000;

describe("a run", () => {
  it("ends its calls and closes its iterator when its loop is left", async () => {
    let cancelled = 0;
    let isClosed = false;
    function* inputs() {
      try {
        for (;;) yield { text: "a" };
      } finally {
        isClosed = true;
      }
    }
    let calls = 0;
    const create = (call: CreateCall) => {
      call.on("cancelled", () => cancelled++);
      if (calls++ === 0) embedAll(call);
    };
    await using server = await fake({ create });
    for await (const { failure } of server.client.map("m", inputs(), { concurrentCalls: 3 })) {
      assert.equal(failure, undefined);
      break;
    }
    assert.ok(isClosed);
    await until(() => cancelled >= calls - 1);
  });

  it("leaves nothing behind that keeps a process alive", async () => {
    // The iterator is blocked, an upload is blocked, a call is not answered, and a timer for an hour is set.
    const program = `
      const { Client } = require("@embedwire/client");
      async function main() {
        async function* blocked() { await new Promise(() => undefined); }
        async function* inputs() {
          yield { text: "a" };
          yield { image: { stream: blocked() } };
          yield { text: "b" };
          await new Promise(() => undefined);
        }
        const client = new Client(process.argv[1]);
        const options = { inputsPerCall: 1, runTimeoutMs: ${String(HOUR_MS)}, timeoutMs: ${String(HOUR_MS)} };
        const run = client.map("m", inputs(), options);
        await run.next();
        const pending = run.next();
        await run.return();
        console.log((await pending).done);
        client.close();
      }
      void main();
    `;
    let calls = 0;
    const create = (call: CreateCall) => {
      if (calls++ === 0) embedAll(call);
    };
    await using server = await fake({ create, upload: () => undefined });
    const { stdout, stderr } = await promisify(execFile)(process.execPath, ["--eval", program, server.target]);
    assert.deepEqual([stdout, stderr], ["true\n", ""]);
  });

  it("throws when its client is closed, and when its signal is aborted", async () => {
    const waiting: (() => void)[] = [];
    await using server = await fake({ create: () => waiting.shift()?.() });
    const closing = server.client.map("m", [{ text: "a" }]);
    const controller = new AbortController();
    const aborted = server.client.map("m", [{ text: "a" }], { signal: controller.signal });
    for (const [run, act] of [
      [
        aborted,
        () => {
          controller.abort(new Error("enough"));
        },
      ],
      [
        closing,
        () => {
          server.client.close();
        },
      ],
    ] as const) {
      const seen = new Promise<void>((resolve) => waiting.push(resolve));
      const pending = drained(run);
      await seen;
      act();
      const { found, error } = await pending;
      assert.equal(found.length, 0);
      if (run === closing) assert.ok(error instanceof ClosedError);
      else assert.match(String(error), /enough/);
    }
  });

  it("ends at its timeout: what was read fails, what was not is not", async () => {
    const create = (call: CreateCall) => {
      if (call.request.inputs.some(({ key }) => key === "fast")) embedAll(call);
    };
    async function* inputs() {
      yield { text: "a", key: "fast" };
      yield { text: "b" };
      await new Promise(() => undefined);
    }
    await using server = await fake({ create });
    const options = { inputsPerCall: 1, runTimeoutMs: 500 };
    const { found, error } = await drained(server.client.map("m", inputs(), options));
    assert.ok(error instanceof DeadlineExceededError);
    assert.equal(error.reason, "DEADLINE_EXCEEDED");
    assert.deepEqual(positions(found), [0, 1]);
    assert.equal(found[1]?.failure?.reason, "DEADLINE_EXCEEDED");
  });

  it("ends at its timeout also if its iterator gives nothing", async () => {
    async function* inputs() {
      await new Promise(() => undefined);
      yield { text: "a" };
    }
    await using server = await fake({});
    const { found, error } = await drained(server.client.map("m", inputs(), { runTimeoutMs: 50 }));
    assert.equal(found.length, 0);
    assert.ok(error instanceof DeadlineExceededError);
  });

  it("does not end with an error at its timeout if everything has ended before", async () => {
    await using server = await fake({ create: embedAll });
    const run = server.client.map("m", [{ text: "a" }, { text: "b" }], { runTimeoutMs: 2500 });
    await run.next();
    await after(2600); // a slow consumer
    assert.equal((await drained(run)).error, undefined);
  });
});
