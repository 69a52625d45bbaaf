import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as after } from "node:timers/promises";

import { type Input, RequestError, TransportError } from "@embedwire/client";
import { Metadata, status } from "@grpc/grpc-js";

import { ErrorReason } from "../src/generated/embedwire/v1/error_reason_pb.js";
import { fake, result, segment } from "./fake.mjs";

const FOX: Input = { text: "a red fox" };
const PICTURE: Input = { image: { url: "http://media.test/a.png" } };
const WINDOW_MS = 400; // in which something that must not happen would happen

describe("a stream", () => {
  it("slows the server down while its reader is slow", async () => {
    let sent = 0;
    await using server = await fake({
      create: async (call) => {
        for (; sent < 5000 && !call.cancelled; sent++) {
          if (!call.write(segment(0, sent))) await new Promise((resolve) => call.once("drain", resolve));
        }
      },
    });
    const events = server.client.stream("m", FOX);
    await events.next();
    for (let before = -1; before !== sent;) {
      before = sent;
      await after(WINDOW_MS);
    }
    assert.ok(sent < 5000, "all segments were sent");
    await events.return();
  });

  it("ends the call when its loop is left, also while an event is waited for", async () => {
    const cancelled: (() => void)[] = [];
    const seen = [0, 1].map(() => new Promise<void>((resolve) => cancelled.push(resolve)));
    await using server = await fake({
      create: (call) => {
        call.on("cancelled", () => cancelled.shift()?.());
        call.write(segment(0, 0));
      },
    });
    for await (const event of server.client.stream("m", FOX)) {
      assert.equal(event.type, "segment");
      break;
    }
    await seen[0];
    const events = server.client.stream("m", FOX);
    await events.next();
    const pending = events.next();
    await events.return();
    assert.deepEqual(await pending, { done: true, value: undefined });
    await seen[1];
  });

  it("repeats what the server wants back, once, and nothing else", async () => {
    for (const [pushback, calls] of [
      ["5", 2],
      ["-1", 1],
      [undefined, 1], // as where a connection breaks, which may have cost something
      ["86400000", 1], // beyond the deadline: the refusal is the answer
    ] as const) {
      let seen = 0;
      await using server = await fake({
        create: (call) => {
          seen += 1;
          const metadata = new Metadata();
          if (pushback !== undefined) metadata.set("grpc-retry-pushback-ms", pushback);
          call.emit("error", { code: status.UNAVAILABLE, details: "no", metadata });
        },
      });
      await assert.rejects(server.client.stream("m", FOX).next(), TransportError);
      assert.equal(seen, calls, `pushback ${String(pushback)}`);
    }
  });

  it("throws the reason of an aborted signal", async () => {
    await using server = await fake({ create: (call) => void call.write(segment(0, 0)) });
    const controller = new AbortController();
    const run = async () => {
      for await (const event of server.client.stream("m", FOX, { signal: controller.signal })) {
        assert.equal(event.type, "segment");
        controller.abort(new Error("enough"));
      }
    };
    await assert.rejects(run, /enough/);
    await assert.rejects(server.client.embed("m", FOX, { signal: AbortSignal.abort() }), { name: "AbortError" });
  });

  it("gives vectors a buffer of their own, in either encoding", async () => {
    await using server = await fake({
      create: (call) => {
        for (let index = 0; index < 8; index++) call.write(segment(0, index, "x".repeat(index)));
        call.write(result(0, 8));
        call.end();
      },
    });
    const { segments } = await server.client.embed("m", PICTURE);
    assert.equal(segments.length, 8);
    for (const { vector, segmentIndex } of segments) {
      assert.equal(vector.buffer.byteLength, vector.byteLength);
      assert.deepEqual([...vector.subarray(0, 3)], [segmentIndex, 0.5, -1]);
    }
  });
});

describe("errors", () => {
  it("are thrown by Embedding.vector for the input that failed", async () => {
    await using server = await fake({
      create: (call) => {
        call.write(segment(0, 0));
        call.write(segment(1, 0));
        call.write(result(1, 1));
        call.write(result(0, 1, { code: 3, reason: ErrorReason.INPUT_REJECTED, message: "no picture" }));
        call.end();
      },
    });
    const [bad, good] = await server.client.embed("m", [FOX, FOX]);
    assert.ok(bad !== undefined && good !== undefined);
    assert.equal(good.vector.length, 5);
    assert.equal(bad.segments.length, 0);
    assert.throws(() => bad.vector, RequestError);
    assert.equal(bad.failure?.message, "no picture");
  });
});
