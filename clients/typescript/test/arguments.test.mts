import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { inspect } from "node:util";

import { Client, type Input, TransportError, VERSION } from "@embedwire/client";

import { isLoopback } from "../src/loopback.js";

const FOX: Input = { text: "a red fox" };

describe("arguments", () => {
  it("refuses credentials that would be sent in plaintext", () => {
    for (const target of ["example.com:443", "10.0.0.1:1"]) {
      assert.throws(() => new Client(target, { token: "t" }), /token: would be sent in plaintext/);
      assert.throws(() => new Client(target, { upstreamApiKey: "k" }), /upstreamApiKey: would be sent in plaintext/);
    }
    new Client("localhost:1", { token: "t" }).close();
    new Client("example.com:443", { token: "t", tls: true }).close();
  });

  it("refuses what cannot be meant before anything is sent", async () => {
    assert.throws(() => new Client("http://127.0.0.1:1"), /without http/);
    assert.throws(() => new Client("127.0.0.1:1", { token: "a b" }), /printable ASCII/);
    assert.throws(() => new Client("127.0.0.1:1", { timeoutMs: NaN }), /timeoutMs/);
    assert.throws(() => new Client("127.0.0.1:1", { channels: 0 }), /channels/);
    assert.throws(() => new Client("127.0.0.1:1", { keepaliveMs: 0 }), /keepaliveMs/);
    assert.throws(() => new Client("a:1", { tls: { rootCertificates: "no" } }), /must be PEM/);
    const client = new Client("127.0.0.1:1");
    const wrong = (input: object, message: RegExp) => {
      assert.throws(() => client.stream("m", input as Input), message);
    };
    wrong({}, /exactly one of text, image, audio; got none/);
    wrong({ image: { path: "a", url: "b" } }, /inputs\[0\]\.image: must have exactly one of .* got url and path/);
    wrong({ image: { data: "bytes" } }, /must be a Uint8Array or a Blob/);
    wrong({ text: "x", truncate: "middle" }, /truncate/);
    wrong({ text: "x", key: 5 }, /inputs\[0\]\.key: must be a string/);
    wrong({ audio: { url: "u", startOffsetSec: "5" } }, /inputs\[0\]\.audio\.startOffsetSec: must be a number/);
    wrong({ audio: { url: "u", endOffsetSec: "5" } }, /endOffsetSec: must be a number/);
    wrong({ audio: { url: "u", segmentation: {} } }, /audio\.segmentation: must have exactly one of fixed, dynamic/);
    wrong(
      { audio: { url: "u", segmentation: { fixed: 6 } } },
      /segmentation\.fixed: must have .* durationSec; got none/,
    );
    wrong(
      { audio: { url: "u", segmentation: { dynamic: { minDurationSec: 0.5 } } } },
      /segmentation\.dynamic\.minDurationSec: must be a whole number from 1 to 2147483647/,
    );
    wrong({ audio: { url: "u", embeddingOptions: "audio" } }, /embeddingOptions: must be an array of strings/);
    wrong({ audio: { url: "u", embeddingScopes: [1] } }, /embeddingScopes: must be an array of strings/);
    wrong({ audio: { url: "u", embeddingTypes: {} } }, /embeddingTypes: must be an array of strings/);
    wrong({ audio: { url: "u", processingMode: "async" } }, /processingMode: must be "sync" or "task"/);
    wrong({ audio: { url: "u", taskId: "t" } }, /inputs\[0\]\.audio: must have exactly one of .* got url and taskId/);
    wrong({ image: { taskId: "t" } }, /inputs\[0\]\.image: must have exactly one of .*assetId; got none/);
    wrong({ image: { assetId: 5 } }, /inputs\[0\]\.image\.assetId: must be a string/);
    wrong({ audio: { taskId: 5 } }, /inputs\[0\]\.audio\.taskId: must be a string/);
    assert.throws(() => client.stream("m", FOX, { requestId: "a b" }), /requestId/);
    assert.throws(() => client.stream("m", FOX, { maxRetries: -1 }), /maxRetries/);
    assert.throws(() => client.stream("m", FOX, { chunkBytes: 0 }), /chunkBytes/);
    assert.throws(() => client.stream("m", FOX, { dimensions: 0 }), /dimensions: must be a whole number from 1/);
    const uncertain = { includeUncertainty: "yes" as unknown as boolean };
    assert.throws(() => client.stream("m", FOX, uncertain), /includeUncertainty: must be a boolean/);
    const reported = { onProgress: "log" as unknown as () => void };
    assert.throws(() => client.map("m", [], reported), /onProgress: must be a function/);
    for (const inputs of [FOX, [FOX, FOX]])
      await assert.rejects(client.embed("m", inputs as Input, reported), /onProgress: must be a function/);
    assert.throws(
      () => client.map("m", [], { inputsPerCall: 257 }),
      /inputsPerCall: must be a whole number from 1 to 256/,
    );
    assert.throws(() => client.map("m", [], { concurrentCalls: 0 }), /concurrentCalls/);
    assert.throws(() => client.map("m", [], { runTimeoutMs: -1 }), /runTimeoutMs/);
    assert.throws(() => client.map("m", FOX as unknown as Input[]), /inputs: must be an iterable/);
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

describe("the package", () => {
  it("tells its version", () => {
    const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as object;
    assert.deepEqual({ version: VERSION }, { version: "version" in manifest && manifest.version });
  });

  it("knows which targets are on this machine", () => {
    const table = readFileSync(new URL("../../../loopback.json", import.meta.url), "utf8");
    const { targets } = JSON.parse(table) as { targets: [string, boolean][] };
    assert.ok(targets.length > 0);
    for (const [target, expected] of targets) assert.equal(isLoopback(target), expected, target);
  });
});
