import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import { describe, it } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { inspect } from "node:util";

import { Client, type Input, RequestError, TransportError } from "@embedwire/client";
import { Metadata, status } from "@grpc/grpc-js";

import { ErrorReason } from "../src/generated/embedwire/v1/error_reason_pb.js";
import { type Asked, fake, result, segment } from "./fake.mjs";

const FOX: Input = { text: "a red fox" };
const PICTURE: Input = { image: { url: "http://media.test/a.png" } };
const WINDOW_MS = 400; // in which something that must not happen would happen

describe("arguments", () => {
  it("refuses credentials that would travel in plain text", () => {
    for (const target of ["example.com:443", "10.0.0.1:1", "dns://127.0.0.1/localhost:1", "ipv4:10.0.0.1:1"]) {
      assert.throws(() => new Client(target, { token: "t" }), /token: would travel in plain text/);
      assert.throws(() => new Client(target, { upstreamApiKey: "k" }), /upstreamApiKey: would travel in plain text/);
    }
    for (const target of ["localhost:1", "127.0.0.9:1", "[::1]:1", "dns:///localhost:1", "unix:/tmp/x"]) {
      new Client(target, { token: "t" }).close();
    }
    new Client("example.com:443", { token: "t", tls: true }).close();
  });

  it("refuses what cannot be meant before anything is sent", () => {
    assert.throws(() => new Client("http://127.0.0.1:1"), /without http/);
    assert.throws(() => new Client("127.0.0.1:1", { token: "a b" }), /printable ASCII/);
    assert.throws(() => new Client("127.0.0.1:1", { timeoutMs: NaN }), /timeoutMs/);
    assert.throws(() => new Client("a:1", { tls: { rootCertificates: "no" } }), /not PEM/);
    const client = new Client("127.0.0.1:1");
    const wrong = (input: object, message: RegExp) => {
      assert.throws(() => client.stream("m", input as Input), message);
    };
    wrong({}, /exactly one of text, image, audio; got none/);
    wrong({ image: { path: "a", url: "b" } }, /inputs\[0\]\.image: must have exactly one of .* got url and path/);
    wrong({ image: { data: "bytes" } }, /must be a Uint8Array or a Blob/);
    wrong({ text: "x", truncate: "middle" }, /truncate/);
    assert.throws(() => client.stream("m", FOX, { requestId: "a b" }), /requestId/);
    assert.throws(() => client.stream("m", FOX, { maxRetries: -1 }), /maxRetries/);
    assert.throws(() => client.stream("m", FOX, { chunkBytes: 0 }), /chunkBytes/);
    client.close();
  });

  it("shows neither content nor credentials of what is inspected", async () => {
    const client = new Client("127.0.0.1:1", { token: "secret-token" });
    assert.ok(!inspect(client, { depth: 9, showHidden: true }).includes("secret-token"));
    await assert.rejects(client.embed("m", { text: "secret text" }), (error) => {
      assert.ok(error instanceof TransportError);
      assert.ok(!inspect(error, { depth: 9 }).includes("secret text"));
      return true;
    });
    client.close();
  });
});

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

describe("an upload", () => {
  it("reads its source no faster than the server takes it, and destroys it when the call ends", async () => {
    let taken = 0;
    function* blocks() {
      for (; taken < 64; taken++) yield Buffer.alloc(1 << 20);
    }
    const stream = Readable.from(blocks(), { highWaterMark: 1 });
    await using server = await fake({
      upload: (call) => {
        setTimeout(() => {
          call.write(result(0, 0));
          call.end();
        }, WINDOW_MS);
      },
    });
    await server.client.embed("m", { audio: { stream } });
    assert.ok(taken < 16, `${taken.toString()} MiB were read`);
    await (stream.closed ? undefined : once(stream, "close"));
  });

  it("sends on with the next file when one has its answer", async () => {
    const got = [0, 0];
    let isAnswered = false;
    await using server = await fake({
      upload: (call) => {
        call.on("data", ({ payload }: Asked) => {
          if (payload.case !== "chunk") return;
          const { inputIndex, last } = payload.value;
          got[inputIndex] = (got[inputIndex] ?? 0) + 1;
          if (!isAnswered) call.write(result(0, 0));
          isAnswered = true;
          if (last && inputIndex === 1) call.write(result(1, 0));
        });
        call.on("end", () => {
          call.end();
        });
      },
    });
    // The second block comes only after the first input has been answered.
    async function* slow(events: Promise<unknown>) {
      yield Buffer.alloc(8);
      await events;
      for (let sent = 0; sent < 50; sent++) yield Buffer.alloc(8);
    }
    const answered = new EventEmitter();
    const inputs = [slow(once(answered, "first")), slow(Promise.resolve())].map((stream) => ({ image: { stream } }));
    for await (const event of server.client.stream("m", inputs)) if (event.inputIndex === 0) answered.emit("first");
    assert.deepEqual(got, [2, 52]); // a block and the last chunk; all blocks and the last chunk
  });

  it("takes blobs, web streams and iterables, and throws what breaks them", async () => {
    const bytes = new Uint8Array(3 << 20).fill(7);
    await using server = await fake({
      upload: (call) => {
        let size = 0;
        call.on("data", ({ payload }: Asked) => {
          size += payload.case === "chunk" ? payload.value.data.byteLength : 0;
        });
        call.on("end", () => {
          call.write(result(0, size));
          call.end();
        });
      },
    });
    const size = async (source: { data: Uint8Array | Blob } | { stream: AsyncIterable<Uint8Array> }) =>
      (await server.client.embed("m", { image: source })).result.segmentCount;
    assert.equal(await size({ data: bytes }), bytes.length);
    assert.equal(await size({ data: new Blob([bytes]) }), bytes.length);
    assert.equal(await size({ stream: new Blob([bytes]).stream() as AsyncIterable<Uint8Array> }), bytes.length);
    async function* broken() {
      yield await Promise.resolve(bytes);
      throw new Error("torn");
    }
    await assert.rejects(size({ stream: broken() }), /torn/);
    await assert.rejects(size({ stream: createReadStream("/no/such/file") }), { code: "ENOENT" });
    await assert.rejects(size({ stream: Readable.from(["text"]) as AsyncIterable<Uint8Array> }), TypeError);
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
