import assert from "node:assert/strict";
import { once } from "node:events";
import { type ServerHttp2Session, createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { describe, it } from "node:test";

import { Client, ClosedError, type Input } from "@embedwire/client";
import { InterceptingCall, type Interceptor } from "@grpc/grpc-js";

import { type CreateCall, embedAll, fake, segment } from "./fake.mjs";

const PICTURE: Input = { image: { url: "http://media.test/a.png" } };

describe("connections", () => {
  it("are as many as wanted, and take calls in turn", async () => {
    const peers = new Set<string>();
    const count = async (channels: number) => {
      peers.clear();
      const create = (call: CreateCall) => {
        peers.add(call.getPeer());
        embedAll(call);
      };
      await using server = await fake({ create }, { channels });
      for (let call = 0; call < 6; call++) await server.client.embed("m", PICTURE);
      return peers.size;
    };
    assert.equal(await count(1), 1);
    assert.equal(await count(3), 3);
  });

  it("are those of two clients, not shared", async () => {
    const peers = new Set<string>();
    const create = (call: CreateCall) => {
      peers.add(call.getPeer());
      embedAll(call);
    };
    await using server = await fake({ create });
    const other = new Client(server.target);
    await server.client.embed("m", PICTURE);
    await other.embed("m", PICTURE);
    other.close();
    assert.equal(peers.size, 2);
  });

  it("go to all addresses of a name", async () => {
    const called = new Set<number>();
    const answering = (server: number) => ({
      create: (call: CreateCall) => {
        called.add(server);
        embedAll(call);
      },
    });
    await using one = await fake(answering(1));
    await using two = await fake(answering(2));
    const client = new Client(`ipv4:${one.target},${two.target}`);
    while (called.size < 2) await client.embed("m", PICTURE); // the second connection may be ready later
    client.close();
  });

  it("are passed interceptors and channel options", async () => {
    const interceptor: Interceptor = (options, nextCall) =>
      new InterceptingCall(nextCall(options), {
        start: (metadata, listener, next) => {
          metadata.set("x-team", "search");
          next(metadata, listener);
        },
      });
    const seen: unknown[] = [];
    const create = (call: CreateCall) => {
      seen.push(call.metadata.get("x-team")[0], call.metadata.get("user-agent")[0]);
      embedAll(call);
    };
    const options = { interceptors: [interceptor], channelOptions: { "grpc.primary_user_agent": "mine" } };
    await using server = await fake({ create }, options);
    await server.client.embed("m", PICTURE);
    assert.deepEqual(seen.slice(0, 1), ["search"]);
    assert.match(String(seen[1]), /^mine /);
  });

  it("are tested by pings while a call is running", async () => {
    const server = createServer();
    const sessions: ServerHttp2Session[] = [];
    const pinged = new Promise<void>((resolve) => {
      server.on("session", (session) => {
        sessions.push(session);
        session.on("ping", () => {
          resolve();
        });
      });
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    const client = new Client(`127.0.0.1:${String((server.address() as AddressInfo).port)}`, { keepaliveMs: 20 });
    const pending = client.embed("m", PICTURE); // never answered
    await pinged;
    client.close();
    await assert.rejects(pending, ClosedError);
    for (const session of sessions) session.destroy();
    server.close();
  });
});

describe("a closed client", () => {
  it("throws in all calls, at once", async () => {
    const client = new Client("127.0.0.1:1");
    const stream = client.stream("m", PICTURE);
    const run = client.map("m", [PICTURE]);
    client.close();
    client.close();
    const closed = { name: "ClosedError", message: "the client is closed" };
    assert.throws(() => client.stream("m", PICTURE), closed);
    assert.throws(() => client.map("m", [PICTURE]), closed);
    await assert.rejects(client.embed("m", PICTURE), closed);
    await assert.rejects(client.embed("m", { text: "a" }), closed);
    await assert.rejects(client.models(), closed);
    await assert.rejects(stream.next(), closed);
    await assert.rejects(run.next(), closed);
  });

  it("ends the calls that are running", async () => {
    await using server = await fake({
      create: (call) => void call.write(segment(0, 0)),
      unary: () => undefined,
      upload: () => undefined,
    });
    const { client } = server;
    const stream = client.stream("m", PICTURE);
    await stream.next();
    const pending = [
      stream.next(),
      client.embed("m", { text: "a" }),
      client.embed("m", { image: { data: new Uint8Array(2 << 20) } }),
    ];
    client.close();
    for (const call of pending) await assert.rejects(call, ClosedError);
  });
});
