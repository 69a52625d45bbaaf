/** The options of a client and of its calls. */

import type { ChannelOptions, Interceptor } from "@grpc/grpc-js";

/** TLS settings: trusted roots, and a client certificate for mutual TLS. Certificates and keys are PEM. */
export interface TLS {
  /** The trusted root certificates; by default those that come with Node.js. */
  readonly rootCertificates?: Uint8Array | string | undefined;
  /** This client's certificate, for mutual TLS. */
  readonly certificateChain?: Uint8Array | string | undefined;
  /** The key of that certificate. */
  readonly privateKey?: Uint8Array | string | undefined;
  /** The name that the server's certificate must have; by default that of the target. */
  readonly serverName?: string | undefined;
}

/** How a client connects to its server, and the defaults of its calls. */
export interface ClientOptions {
  /** True for TLS with the roots of Node.js, a {@link TLS} for anything else; by default plain text. */
  readonly tls?: boolean | TLS | undefined;
  /** The bearer token that the server requires; sent over TLS or to a loopback address only. */
  readonly token?: string | undefined;
  /** Your own key for the upstream, for servers that accept one; likewise. Without it the server's key is used. */
  readonly upstreamApiKey?: string | undefined;
  /** The timeout of each call that sets none itself; by default 60 s, or 600 s if any input is audio. */
  readonly timeoutMs?: number | undefined;
  /** Wait for a server that cannot be reached yet, within the timeout, in place of failing. */
  readonly waitForReady?: boolean | undefined;
  /**
   * Repeat once a call that the server refused before it did any work, after the delay that the server asks for and
   * within the timeout; true by default. No other call is repeated, and no upload. {@link Client.map} does not use it,
   * as it repeats by rules of its own.
   */
  readonly retryOnPushback?: boolean | undefined;
  /**
   * How many connections to open to each address, 1 to 100; calls are distributed over them in turn. 1 by default. A
   * connection is served by one worker process of the server, so several are needed to use several workers.
   */
  readonly channels?: number | undefined;
  /**
   * Milliseconds between the HTTP/2 pings that test a connection while calls run; 60,000 by default. Without an answer
   * within 20 s the connection and its calls end. False turns it off.
   */
  readonly keepaliveMs?: number | false | undefined;
  /** Interceptors of `@grpc/grpc-js` for every call. Passed on to gRPC, outside the guarantees of this client. */
  readonly interceptors?: readonly Interceptor[] | undefined;
  /**
   * Options of the channels of `@grpc/grpc-js`, which take precedence over those that this client sets. Passed on to
   * gRPC, outside the guarantees of this client.
   */
  readonly channelOptions?: ChannelOptions | undefined;
}

/** How vectors travel. All encodings carry the same values. */
export type Encoding = "float32_le" | "float_values";

/** The options of a single call. */
export interface CallOptions {
  /** Milliseconds for everything: queueing, uploads, every attempt, the reply. It is the deadline of the call. */
  readonly timeoutMs?: number | undefined;
  /**
   * The most upstream attempts that may follow a failed first one, for each input; 0 forbids retries. By default that
   * is left to the server. An attempt may be billed.
   */
  readonly maxRetries?: number | undefined;
  /** An id for the server's log and metadata: 1 to 64 letters, digits and `-_.:`. By default a new one. */
  readonly requestId?: string | undefined;
  /** Size of the chunks in which files are uploaded, 256 KiB by default. */
  readonly chunkBytes?: number | undefined;
  /** How vectors travel; "float32_le", the cheapest, by default. */
  readonly encoding?: Encoding | undefined;
  /** Ends the call when it is aborted; the call then throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** The options of {@link Client.map}. */
export interface MapOptions extends Omit<CallOptions, "requestId" | "timeoutMs"> {
  /**
   * Milliseconds that each call has, as those of {@link CallOptions}; by default 60 s, or 600 s if the call has audio. An
   * input that is sent again after a rejection has them again, unless `countWaits` is set.
   */
  readonly timeoutMs?: number | undefined;
  /** The most inputs in one call, 1 to 256; 16 by default. */
  readonly inputsPerCall?: number | undefined;
  /** The most calls at a time, 1 to 1000; 8 by default. The run uses fewer if the server rejects calls. */
  readonly concurrentCalls?: number | undefined;
  /** Milliseconds for the whole run; none by default. Pauses after rejections are not counted, unless `countWaits` is. */
  readonly runTimeoutMs?: number | undefined;
  /** Count the waits after rejections: the deadline of an input runs from when it is first sent. False by default. */
  readonly countWaits?: boolean | undefined;
}

const ENCODINGS: readonly unknown[] = ["float32_le", "float_values", undefined];
const REQUEST_ID = /^[A-Za-z0-9_.:-]{1,64}$/;
const LARGEST_INT32 = 2 ** 31 - 1;
const LARGEST_CHUNK = 15 << 20; // a message may have 16 MiB
const MOST_CHANNELS = 100;
const MOST_INPUTS = 256;
const MOST_CALLS = 1000;

/**
 * Check the options of a client, apart from credentials.
 *
 * @throws TypeError - one of them is invalid.
 */
export function checkClientOptions({ timeoutMs, channels, keepaliveMs }: ClientOptions): void {
  checkMilliseconds("timeoutMs", timeoutMs, 0);
  checkWhole("channels", channels, 1, MOST_CHANNELS);
  if (keepaliveMs !== false) checkMilliseconds("keepaliveMs", keepaliveMs, 1);
}

/**
 * Check the options of a call.
 *
 * @throws TypeError - one of them is invalid.
 */
export function checkCallOptions(options: CallOptions): void {
  const { timeoutMs, maxRetries, requestId, chunkBytes, encoding } = options;
  checkMilliseconds("timeoutMs", timeoutMs, 0);
  checkWhole("maxRetries", maxRetries, 0, LARGEST_INT32);
  checkWhole("chunkBytes", chunkBytes, 1, LARGEST_CHUNK);
  if (requestId !== undefined && !REQUEST_ID.test(requestId)) {
    throw new TypeError("requestId: must have 1 to 64 letters, digits and -_.: only");
  }
  if (!ENCODINGS.includes(encoding)) throw new TypeError('encoding: must be "float32_le" or "float_values"');
}

/**
 * Check the options of a run.
 *
 * @throws TypeError - one of them is invalid.
 */
export function checkMapOptions(options: MapOptions): void {
  checkCallOptions(options);
  checkWhole("inputsPerCall", options.inputsPerCall, 1, MOST_INPUTS);
  checkWhole("concurrentCalls", options.concurrentCalls, 1, MOST_CALLS);
  checkMilliseconds("runTimeoutMs", options.runTimeoutMs, 0);
}

function checkMilliseconds(name: string, value: number | undefined, least: number): void {
  if (value !== undefined && !(typeof value === "number" && value >= least)) {
    throw new TypeError(`${name}: must be a number of milliseconds, at least ${String(least)}`);
  }
}

function checkWhole(name: string, value: number | undefined, least: number, most: number): void {
  if (value !== undefined && !(Number.isInteger(value) && value >= least && value <= most)) {
    throw new TypeError(`${name}: must be a whole number from ${String(least)} to ${String(most)}`);
  }
}
