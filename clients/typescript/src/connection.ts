/** The connection settings of a client: address, TLS, credentials, metadata. */

import { randomBytes } from "node:crypto";

import { type ChannelCredentials, type ClientOptions as GrpcOptions, Metadata, credentials } from "@grpc/grpc-js";

import { isLoopback } from "./loopback.js";
import { type CallOptions, type ClientOptions, type TLS, checkClientOptions } from "./options.js";
import { traceHeaders } from "./tracing.js";
import { VERSION } from "./version.js";

const HEADER_VALUE = /^[\x21-\x7e]+$/;
const LONGEST_MS = 7 * 24 * 3_600_000; // the maximum deadline that a server accepts
const LAST_PORT = 65_535;
const RECEIVE_BYTES = 8 << 20; // a unary response is at most 4 MiB
const KEEPALIVE_MS = 60_000;
const KEEPALIVE_TIMEOUT_MS = 20_000;

/** The metadata and the deadline of a call. */
export interface CallArguments {
  readonly requestId: string;
  readonly metadata: Metadata;
  readonly timeoutMs: number;
  readonly attempts: number;
}

/** The settings of the channels and calls of a client. */
export class Connection {
  /** Number of channels. */
  readonly channels: number;
  readonly #tls: TLS | undefined;
  readonly #secrets: readonly (readonly [string, string])[];
  readonly #options: ClientOptions;

  /**
   * Check the settings.
   *
   * @throws TypeError - an argument is invalid, or a credential would be sent in plaintext to a non-loopback address.
   */
  constructor(
    readonly target: string,
    options: ClientOptions,
  ) {
    checkTarget(target);
    checkClientOptions(options);
    this.channels = options.channels ?? 1;
    this.#tls = options.tls === true ? {} : options.tls === false ? undefined : options.tls;
    this.#options = options;
    const secrets: [string, string][] = [];
    if (this.#isSafe("token", options.token)) secrets.push(["authorization", `Bearer ${options.token}`]);
    if (this.#isSafe("upstreamApiKey", options.upstreamApiKey)) {
      secrets.push(["x-upstream-api-key", options.upstreamApiKey]);
    }
    this.#secrets = secrets;
  }

  /** Credentials of the channels. */
  get credentials(): ChannelCredentials {
    if (this.#tls === undefined) return credentials.createInsecure();
    const { rootCertificates, privateKey, certificateChain } = this.#tls;
    if (rootCertificates !== undefined && !buffer(rootCertificates).includes("BEGIN CERTIFICATE")) {
      throw new TypeError("tls: rootCertificates must be PEM");
    }
    const [roots, key, chain] = [rootCertificates, privateKey, certificateChain].map((pem) =>
      pem === undefined ? null : buffer(pem),
    );
    try {
      return credentials.createSsl(roots, key, chain);
    } catch (error) {
      throw new TypeError("tls: the certificates or the key are invalid; they must be PEM and belong together", {
        cause: error,
      });
    }
  }

  /** Options of the channels. */
  get channelOptions(): GrpcOptions {
    const { keepaliveMs = KEEPALIVE_MS, interceptors = [], channelOptions } = this.#options;
    const serverName = this.#tls?.serverName;
    return {
      "grpc.primary_user_agent": `embedwire-typescript/${VERSION}`,
      "grpc.max_receive_message_length": RECEIVE_BYTES,
      // With the global pool, all channels of a process to one target would share a connection.
      "grpc.use_local_subchannel_pool": 1,
      "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
      // No retry policy from DNS: see Attempts.
      "grpc.service_config_disable_resolution": 1,
      ...(keepaliveMs !== false && {
        "grpc.keepalive_time_ms": keepaliveMs,
        "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
      }),
      // Credentials for this machine must not reach a proxy of the environment.
      ...(isLoopback(this.target) && { "grpc.enable_http_proxy": 0 }),
      ...(serverName !== undefined && {
        "grpc.ssl_target_name_override": serverName,
        "grpc.default_authority": serverName,
      }),
      ...channelOptions,
      interceptors: [...interceptors],
    };
  }

  /**
   * Return the metadata and the deadline of a call.
   *
   * @param trace - headers of the trace context of the caller.
   */
  call(
    { requestId = randomBytes(8).toString("hex"), timeoutMs }: CallOptions,
    defaultMs: number,
    trace = traceHeaders(),
  ): CallArguments {
    const metadata = new Metadata({ waitForReady: this.#options.waitForReady ?? false });
    for (const [name, value] of Object.entries(trace)) metadata.set(name, value);
    metadata.set("x-request-id", requestId);
    for (const [name, secret] of this.#secrets) metadata.set(name, secret);
    const wanted = timeoutMs ?? this.#options.timeoutMs ?? defaultMs;
    const attempts = (this.#options.retryOnPushback ?? true) ? 2 : 1;
    return { requestId, metadata, timeoutMs: Math.min(wanted, LONGEST_MS), attempts };
  }

  #isSafe(name: string, secret: string | undefined): secret is string {
    if (secret === undefined) return false;
    if (!HEADER_VALUE.test(secret)) {
      throw new TypeError(`${name}: must be printable ASCII without spaces, and not empty`);
    }
    if (this.#tls === undefined && !isLoopback(this.target)) {
      throw new TypeError(`${name}: would be sent in plaintext; set tls, or use a loopback target`);
    }
    return true;
  }
}

function buffer(pem: Uint8Array | string): Buffer {
  return typeof pem === "string" ? Buffer.from(pem) : Buffer.from(pem.buffer, pem.byteOffset, pem.byteLength);
}

function checkTarget(target: string): void {
  if (typeof target !== "string" || target === "" || /\s/.test(target)) {
    throw new TypeError("target: must be HOST:PORT, or another gRPC target, without spaces");
  }
  if (/^https?:\/\//i.test(target)) {
    throw new TypeError("target: must be HOST:PORT without http://; use the option tls for TLS");
  }
  const port = /:(\d+)$/.exec(target)?.[1];
  if (port !== undefined && Number(port) > LAST_PORT)
    throw new TypeError(`target: port must be at most 65535, got ${port}`);
}
