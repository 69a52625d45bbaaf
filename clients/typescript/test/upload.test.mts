import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import { describe, it } from "node:test";

import { type Asked, fake, result } from "./fake.mjs";

const WINDOW_MS = 400; // in which something that must not happen would happen

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
