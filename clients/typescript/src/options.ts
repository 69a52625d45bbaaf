/** The options of a client and of its calls. */

import type { ChannelOptions, Interceptor } from "@grpc/grpc-js";

import { checkMilliseconds, checkType, checkWhole } from "./checks.js";
import type { Progress } from "./results.js";

/** TLS settings: root certificates, and a client certificate for mutual TLS. Certificates and keys are PEM. */
export interface TLS {
  /** Trusted root certificates; by default those of Node.js. */
  readonly rootCertificates?: Uint8Array | string | undefined;
  /** Client certificate chain, for mutual TLS. */
  readonly certificateChain?: Uint8Array | string | undefined;
  /** Private key of the client certificate. */
  readonly privateKey?: Uint8Array | string | undefined;
  /** Expected name of the server certificate; by default the host of the target. */
  readonly serverName?: string | undefined;
}

/** The options of a client: connection, credentials, defaults of its calls. */
export interface ClientOptions {
  /** True for TLS with the root certificates of Node.js, a {@link TLS} for other settings; by default plaintext. */
  readonly tls?: boolean | TLS | undefined;
  /** Bearer token for the server; sent over TLS or to a loopback address only. */
  readonly token?: string | undefined;
  /** Your own API key of the upstream, for servers that accept one; sent like the token. */
  readonly upstreamApiKey?: string | undefined;
  /** Deadline of calls that set none, in milliseconds; by default that of {@link CallOptions.timeoutMs}. */
  readonly timeoutMs?: number | undefined;
  /** Wait until the deadline for an unreachable server, instead of failing immediately. */
  readonly waitForReady?: boolean | undefined;
  /**
   * Retry once a call that the server rejected or ended in its shutdown, after the delay that the server requests and
   * within the deadline; true by default. Other failures and uploads are not retried. {@link Client.map} ignores it, since it
   * sends rejected inputs again by its own rule.
   */
  readonly retryOnPushback?: boolean | undefined;
  /**
   * Number of connections to each address, 1 to 100; 1 by default. Calls use them in turn (round robin). One worker
   * process of the server serves a connection, so a client needs several connections to use several workers.
   */
  readonly channels?: number | undefined;
  /**
   * Interval of keepalive pings in milliseconds; 60,000 by default, false for none. Pings are sent only while calls
   * run. If there is no answer within 20 s, the connection is closed and its calls fail.
   */
  readonly keepaliveMs?: number | false | undefined;
  /** Interceptors of `@grpc/grpc-js` for all calls. Their effects are outside the guarantees of this client. */
  readonly interceptors?: readonly Interceptor[] | undefined;
  /**
   * Channel options of `@grpc/grpc-js`, which take precedence over those of this client. Their effects are outside the
   * guarantees of this client.
   */
  readonly channelOptions?: ChannelOptions | undefined;
}

/** Encoding of vectors in responses. The values are the same. */
export type Encoding = "float32_le" | "float_values";

/** The options of a single call. */
export interface CallOptions {
  /**
   * Deadline in milliseconds, which covers queueing, uploads, all attempts and the response. By default 60 s; 600 s if
   * any input is audio and all audio has the `processingMode` "sync"; and 3,600 s with other audio, since the upstream
   * may process it as a task.
   */
  readonly timeoutMs?: number | undefined;
  /**
   * Maximum number of upstream retries for each input; 0 forbids retries. By default the server decides. The upstream
   * may bill each attempt.
   */
  readonly maxRetries?: number | undefined;
  /** Request id for the server's log and metadata: 1 to 64 letters, digits and `-_.:`; by default a new id. */
  readonly requestId?: string | undefined;
  /** Size of upload chunks in bytes, 1 to 15 MiB; 256 KiB by default. */
  readonly chunkBytes?: number | undefined;
  /** Encoding of vectors in responses; by default "float32_le", the cheapest. */
  readonly encoding?: Encoding | undefined;
  /** Number of values of each vector, one of {@link Model.supportedDimensions}; by default {@link Model.dimensions}. */
  readonly dimensions?: number | undefined;
  /** Whether segments have an uncertainty, if {@link Model.supportsUncertainty}; false by default. */
  readonly includeUncertainty?: boolean | undefined;
  /** Cancels the call when it is aborted; the call then throws the reason of the signal. */
  readonly signal?: AbortSignal | undefined;
}

/** The option of calls that collect their results. */
export interface ProgressOptions {
  /**
   * Called with each {@link Progress} of the inputs as it arrives. What it throws ends the call or the run, and is
   * thrown. It must not be an async function.
   */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** The options of {@link Client.embed}. */
export interface EmbedOptions extends CallOptions, ProgressOptions {}

/** The options of {@link Client.map}. */
export interface MapOptions extends Omit<CallOptions, "requestId" | "timeoutMs">, ProgressOptions {
  /**
   * Deadline of each call in milliseconds, by default as in {@link CallOptions.timeoutMs}. An input that is sent again
   * after a rejection has a new deadline, unless `countWaits` is set.
   */
  readonly timeoutMs?: number | undefined;
  /** Maximum number of inputs of a call, 1 to 256; 16 by default. */
  readonly inputsPerCall?: number | undefined;
  /** Maximum number of concurrent calls, 1 to 1000; 8 by default. The run makes fewer if the server rejects calls. */
  readonly concurrentCalls?: number | undefined;
  /** Timeout of the whole run in milliseconds; none by default. Pauses do not count, unless `countWaits` is set. */
  readonly runTimeoutMs?: number | undefined;
  /** Count waits after rejections: the deadline of an input then starts with its first call. False by default. */
  readonly countWaits?: boolean | undefined;
}

const ENCODINGS: readonly unknown[] = ["float32_le", "float_values", undefined];
const REQUEST_ID = /^[A-Za-z0-9_.:-]{1,64}$/;
const LARGEST_INT32 = 2 ** 31 - 1;
const LARGEST_CHUNK = 15 << 20; // a message has at most 16 MiB
const MOST_CHANNELS = 100;
const MOST_INPUTS = 256;
const MOST_CALLS = 1000;

/**
 * Check the options of a client, except credentials.
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
  const { timeoutMs, maxRetries, requestId, chunkBytes, encoding, dimensions, includeUncertainty } = options;
  checkMilliseconds("timeoutMs", timeoutMs, 0);
  checkWhole("maxRetries", maxRetries, 0, LARGEST_INT32);
  checkWhole("chunkBytes", chunkBytes, 1, LARGEST_CHUNK);
  checkWhole("dimensions", dimensions, 1, LARGEST_INT32);
  checkType("includeUncertainty", includeUncertainty, "boolean");
  if (requestId !== undefined && !REQUEST_ID.test(requestId)) {
    throw new TypeError("requestId: must have 1 to 64 letters, digits and -_.: only");
  }
  if (!ENCODINGS.includes(encoding)) throw new TypeError('encoding: must be "float32_le" or "float_values"');
}

/**
 * Check the options of a call that collects its results.
 *
 * @throws TypeError - one of them is invalid.
 */
export function checkEmbedOptions(options: EmbedOptions): void {
  checkCallOptions(options);
  checkType("onProgress", options.onProgress, "function");
}

/**
 * Check the options of a run.
 *
 * @throws TypeError - one of them is invalid.
 */
export function checkMapOptions(options: MapOptions): void {
  checkEmbedOptions(options);
  checkWhole("inputsPerCall", options.inputsPerCall, 1, MOST_INPUTS);
  checkWhole("concurrentCalls", options.concurrentCalls, 1, MOST_CALLS);
  checkMilliseconds("runTimeoutMs", options.runTimeoutMs, 0);
}
