import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { describe, it } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { promisify } from "node:util";

import { ClosedError, DeadlineExceededError, type Embedding, type Input } from "@embedwire/client";

import { type CreateCall, drained, embedAll, fake, positions, result, until } from "./fake.mjs";

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

  it("is not held up by pipes that have no writer, nor is the end of the process", async () => {
    const folder = mkdtempSync(join(tmpdir(), "embedwire-map-"));
    const pipes = [0, 1, 2, 3, 4].map((index) => join(folder, String(index)));
    execFileSync("mkfifo", pipes);
    const file = join(folder, "a.png");
    writeFileSync(file, "a");
    // The loop is not left: only the client is closed.
    const program = `
      const { Client } = require("@embedwire/client");
      async function main() {
        const [target, file, ...pipes] = process.argv.slice(1);
        const client = new Client(target);
        const inputs = [...pipes, file].map((path) => ({ image: { path } }));
        const options = { runTimeoutMs: ${String(HOUR_MS)}, timeoutMs: ${String(HOUR_MS)} };
        const run = client.map("m", inputs, options);
        console.log((await run.next()).value.result.inputIndex);
        client.close();
      }
      void main();
    `;
    let uploads = 0;
    const waiting: (() => void)[] = [];
    const upload = () => {
      if (++uploads === pipes.length) for (const answer of waiting) answer();
    };
    const create = (call: CreateCall) => {
      const answer = () => {
        embedAll(call);
      };
      if (uploads === pipes.length) answer();
      else waiting.push(answer);
    };
    await using server = await fake({ create, upload });
    const command = ["--eval", program, server.target, file, ...pipes];
    const { stdout, stderr } = await promisify(execFile)(process.execPath, command, { timeout: 50_000 });
    rmSync(folder, { recursive: true });
    assert.deepEqual([stdout, stderr], ["5\n", ""]);
  });

  it("waits for the status of its last call, and does not cancel it", async () => {
    let isEnded = false;
    let wasEnded: boolean | undefined;
    const create = (call: CreateCall) => {
      call.on("cancelled", () => (wasEnded = isEnded)); // it comes at each end
      call.write(result(0, 0));
      setTimeout(() => {
        isEnded = true;
        call.end();
      }, 20);
    };
    await using server = await fake({ create });
    assert.equal((await drained(server.client.map("m", [{ text: "a" }]))).found.length, 1);
    await until(() => wasEnded !== undefined);
    assert.ok(wasEnded);
  });

  it("ends if its iterator ends after its timeout, before the timer", async () => {
    let took: () => void = () => undefined;
    const taken = new Promise<void>((resolve) => (took = resolve));
    async function* inputs() {
      yield { text: "a" };
      await taken;
      await after(20); // the run waits
      for (const since = performance.now(); performance.now() - since < 2000;);
    }
    await using server = await fake({ create: embedAll });
    const run = server.client.map("m", inputs(), { runTimeoutMs: 2000 });
    await run.next();
    took();
    assert.ok((await run.next()).done);
  });

  it("reads nothing after its timeout, and throws that also if closing its iterator fails", async () => {
    let read = 0;
    const inputs: IterableIterator<Input> = {
      [Symbol.iterator]: () => inputs,
      next: () => ({ value: { text: String(read++) } }),
      return: () => {
        throw new Error("not closed");
      },
    };
    await using server = await fake({ create: () => undefined });
    const found: Embedding[] = [];
    const take = async () => {
      const options = { runTimeoutMs: 200, inputsPerCall: 4, concurrentCalls: 4 };
      for await (const embedding of server.client.map("m", inputs, options)) {
        found.push(embedding);
        await after(1);
      }
    };
    await assert.rejects(take(), DeadlineExceededError);
    assert.deepEqual(positions(found), [...Array(read).keys()]);
  });

  it("releases a stream that its iterator gives after the run was left", async () => {
    const stream = Readable.from([Buffer.of(1)]) as Readable & AsyncIterable<Uint8Array>;
    const late = new EventEmitter();
    async function* inputs() {
      yield { text: "a" };
      await once(late, "left");
      yield { image: { stream } };
    }
    await using server = await fake({ create: embedAll });
    const run = server.client.map("m", inputs());
    await run.next();
    await run.return();
    late.emit("left");
    await until(() => stream.destroyed);
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
