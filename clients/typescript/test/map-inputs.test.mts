import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { Readable } from "node:stream";
import { describe, it } from "node:test";
import { setTimeout as after } from "node:timers/promises";

import type { Input } from "@embedwire/client";

import { type CreateCall, type Methods, drained, embedAll, fake, positions, until } from "./fake.mjs";

const WINDOW_MS = 100; // in which something that must not happen would happen

describe("the inputs of a run", () => {
  it("are read no further ahead than its calls can take", async () => {
    let read = 0;
    let isClosed = false;
    function* inputs() {
      try {
        for (;;) yield { text: String(read++) };
      } finally {
        isClosed = true;
      }
    }
    await using server = await fake({ create: embedAll });
    const run = server.client.map("m", inputs(), { inputsPerCall: 3, concurrentCalls: 2 });
    for (let taken = 1; taken <= 4; taken++) {
      await run.next();
      await until(() => read >= 6 + taken);
      await after(WINDOW_MS);
      assert.equal(read, 6 + taken);
    }
    await run.return();
    assert.ok(isClosed);
  });

  it("may come slowly: each is sent although its call is not full", async () => {
    const embedded = new EventEmitter();
    async function* inputs() {
      for (let position = 0; position < 3; position++) {
        const answer = once(embedded, String(position));
        yield { text: "a" };
        await answer;
      }
    }
    await using server = await fake({ create: embedAll });
    for await (const { result } of server.client.map("m", inputs())) embedded.emit(String(result.inputIndex));
  });

  it("do not hold back results while an iterator computes without a pause", async () => {
    let isArrived = false;
    let read = 0;
    function* inputs() {
      for (; !isArrived && read < 20_000; read++) {
        for (const since = performance.now(); performance.now() - since < 1;);
        yield { text: "a" };
      }
    }
    await using server = await fake({ create: embedAll });
    const options = { inputsPerCall: 256, concurrentCalls: 1000 };
    for await (const { failure } of server.client.map("m", inputs(), options)) {
      assert.equal(failure, undefined);
      isArrived = true;
    }
    assert.ok(read < 20_000, "no result arrived while inputs were read");
  });

  it("are all embedded before the error of their iterator is thrown", async () => {
    function* inputs() {
      for (let read = 0; read < 20; read++) yield { text: "a" };
      throw new Error("torn");
    }
    await using server = await fake({ create: embedAll });
    const { found, error } = await drained(server.client.map("m", inputs()));
    assert.deepEqual(positions(found), [...Array(20).keys()]);
    assert.match(String(error), /torn/);
  });

  it("end with a TypeError if one of them is not an input, and their iterator is closed", async () => {
    let isClosed = false;
    function* inputs() {
      try {
        yield { text: "a" };
        yield { text: "b" };
        yield "c" as unknown as Input;
        yield { text: "d" };
      } finally {
        isClosed = true;
      }
    }
    await using server = await fake({ create: embedAll });
    const { found, error } = await drained(server.client.map("m", inputs()));
    assert.deepEqual(positions(found), [0, 1]);
    assert.ok(error instanceof TypeError && isClosed);
    assert.match(error.message, /^inputs\[2\]: must have exactly one of text, image, audio/);
  });

  it("may have members that are undefined", async () => {
    const data = Buffer.of(1);
    const inputs: Input[] = [
      { text: undefined, image: { data } },
      { image: undefined, audio: { data } },
      { image: undefined, text: "a", audio: undefined },
    ];
    const modalities: unknown[] = [];
    const create = (call: CreateCall) => {
      modalities.push(...call.request.inputs.map(({ modality }) => modality.case));
      embedAll(call);
    };
    const unary: Methods["unary"] = (_, done) => {
      done(new Error("a file is not in a unary call"));
    };
    await using server = await fake({ create, unary });
    const { found, error } = await drained(server.client.map("m", inputs));
    assert.deepEqual(
      [positions(found), error, modalities.splice(0)],
      [[0, 1, 2], undefined, ["image", "audio", "text"]],
    );
    for (const input of inputs.slice(0, 2)) await server.client.embed("m", input);
    assert.deepEqual(modalities, ["image", "audio"]);
  });

  it("fail alone if their files cannot be read, without path or content", async () => {
    async function* broken() {
      yield await Promise.resolve(new Uint8Array(8));
      throw new Error("secret content");
    }
    const inputs: Input[] = [
      { text: "a" },
      { image: { path: "/secret/missing.png" } },
      { audio: { path: "/secret\0" } },
      { image: { stream: broken() } },
      { image: { stream: Readable.from(["text"]) as AsyncIterable<Uint8Array> } },
    ];
    await using server = await fake({ create: embedAll, upload: () => undefined });
    const { found, error } = await drained(server.client.map("m", inputs));
    assert.equal(error, undefined);
    const described = found.flatMap(({ failure }) => (failure ? failure.violations : []));
    assert.deepEqual(described.map(({ field, description }) => `${field}: ${description}`).sort(), [
      "inputs[1].image.source: cannot be read: no such file or directory",
      "inputs[2].audio.source: cannot be read: TypeError",
      "inputs[3].image.source: cannot be read: Error",
      "inputs[4].image.source: cannot be read: a file must give bytes, got string",
    ]);
    assert.ok(!JSON.stringify(found).includes("secret"));
    for (const { failure } of found.filter((embedding) => embedding.failure))
      assert.equal(failure?.code, "INVALID_ARGUMENT");
  });
});
