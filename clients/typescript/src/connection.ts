/** Where the server is and how it is spoken to: address, TLS, credentials, metadata. */

import { randomBytes } from "node:crypto";
import { BlockList, isIP } from "node:net";

import { type ChannelCredentials, type ChannelOptions, Metadata, credentials } from "@grpc/grpc-js";

import { VERSION } from "./version.js";

/** TLS settings: trusted roots, and a client certificate for mutual TLS. Certificates and keys are PEM. */
export interface TLS {
  /** Whom to trust; by default the roots that come with Node.js. */
  readonly rootCertificates?: Uint8Array | string | undefined;
  /** This client's certificate, for mutual TLS. */
  readonly certificateChain?: Uint8Array | string | undefined;
  /** The key of that certificate. */
  readonly privateKey?: Uint8Array | string | undefined;
  /** The name that the server's certificate must have; by default that of the target. */
  readonly serverName?: string | undefined;
}

/** How a client speaks to its server. */
export interface ClientOptions {
  /** True for TLS with the roots of Node.js, a {@link TLS} for anything else; by default plain text. */
  readonly tls?: boolean | TLS | undefined;
  /** The bearer token that the server wants; sent over TLS or to a loopback address only. */
  readonly token?: string | undefined;
  /** Your own key for the upstream, for servers that take one; likewise. Without it the server's key is used. */
  readonly upstreamApiKey?: string | undefined;
  /** What each call gets unless it chooses; by default 60 s, or 600 s if any input is audio. */
  readonly timeoutMs?: number | undefined;
  /** Wait for a server that is not there yet, within the timeout, rather than fail. */
  readonly waitForReady?: boolean | undefined;
  /**
   * Call once more, as soon as the server asks for and within the timeout, what it refused before it did any work; true
   * by default. Nothing else is repeated, nor is an upload.
   */
  readonly retryOnPushback?: boolean | undefined;
}

/** How vectors travel. All encodings carry the same values. */
export type Encoding = "float32_le" | "float_values";

/** What a single call may choose. */
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

/** What a call without a deadline gets by the contract; a client that sets it cannot hang on a dead connection. */
export const TEXT_MS = 60_000;
export const AUDIO_MS = 600_000;

const REQUEST_ID = /^[A-Za-z0-9_.:-]{1,64}$/;
const HEADER_VALUE = /^[\x21-\x7e]+$/;
const LONGEST_MS = 7 * 24 * 3_600_000; // a server allows no more
const LAST_PORT = 65_535;
const RECEIVE_BYTES = 8 << 20; // a unary answer is at most 4 MiB

/** What a call is made with. */
export interface CallArguments {
  readonly requestId: string;
  readonly metadata: Metadata;
  readonly timeoutMs: number;
  readonly attempts: number;
}

/** Everything that a channel and its calls are made of. */
export class Connection {
  readonly #tls: TLS | undefined;
  readonly #secrets: readonly (readonly [string, string])[];
  readonly #options: ClientOptions;

  /**
   * @throws TypeError - an argument cannot be used, or a credential would travel in plain text over a network.
   */
  constructor(
    readonly target: string,
    options: ClientOptions,
  ) {
    this.#tls = options.tls === true ? {} : options.tls === false ? undefined : options.tls;
    this.#options = options;
    checkTarget(target);
    checkTimeout(options.timeoutMs);
    const secrets: [string, string][] = [];
    if (this.#isSafe("token", options.token)) secrets.push(["authorization", `Bearer ${options.token}`]);
    if (this.#isSafe("upstreamApiKey", options.upstreamApiKey)) {
      secrets.push(["x-upstream-api-key", options.upstreamApiKey]);
    }
    this.#secrets = secrets;
  }

  /** What the channel is opened with. */
  get credentials(): ChannelCredentials {
    if (this.#tls === undefined) return credentials.createInsecure();
    const { rootCertificates, privateKey, certificateChain } = this.#tls;
    if (rootCertificates !== undefined && !buffer(rootCertificates).includes("BEGIN CERTIFICATE")) {
      throw new TypeError("tls: the root certificates are not PEM");
    }
    const [roots, key, chain] = [rootCertificates, privateKey, certificateChain].map((pem) =>
      pem === undefined ? null : buffer(pem),
    );
    try {
      return credentials.createSsl(roots, key, chain);
    } catch (error) {
      throw new TypeError("tls: the certificates or the key cannot be used", { cause: error });
    }
  }

  /** Options of the channel. */
  get channelOptions(): ChannelOptions {
    const serverName = this.#tls?.serverName;
    return {
      "grpc.primary_user_agent": `embedwire-typescript/${VERSION}`,
      "grpc.max_receive_message_length": RECEIVE_BYTES,
      // No retry policy from DNS: see Attempts.
      "grpc.service_config_disable_resolution": 1,
      // What is for this machine does not go to a proxy of the environment.
      ...(isLocal(this.target) && { "grpc.enable_http_proxy": 0 }),
      ...(serverName !== undefined && {
        "grpc.ssl_target_name_override": serverName,
        "grpc.default_authority": serverName,
      }),
    };
  }

  /**
   * What a call is made with.
   *
   * @throws TypeError - an option cannot be meant.
   */
  call(options: CallOptions, defaultMs: number): CallArguments {
    checkTimeout(options.timeoutMs);
    const { requestId = randomBytes(8).toString("hex") } = options;
    if (!REQUEST_ID.test(requestId)) throw new TypeError("requestId: must have 1 to 64 letters, digits and -_.: only");
    const metadata = new Metadata({ waitForReady: this.#options.waitForReady ?? false });
    metadata.set("x-request-id", requestId);
    for (const [name, secret] of this.#secrets) metadata.set(name, secret);
    const wanted = options.timeoutMs ?? this.#options.timeoutMs ?? defaultMs;
    const attempts = (this.#options.retryOnPushback ?? true) ? 2 : 1;
    return { requestId, metadata, timeoutMs: Math.min(wanted, LONGEST_MS), attempts };
  }

  #isSafe(name: string, secret: string | undefined): secret is string {
    if (secret === undefined) return false;
    if (!HEADER_VALUE.test(secret)) {
      throw new TypeError(`${name}: must be printable ASCII without spaces, and not empty`);
    }
    if (this.#tls === undefined && !isLocal(this.target)) {
      throw new TypeError(`${name}: would travel in plain text; set tls, or use a loopback target`);
    }
    return true;
  }
}

function buffer(pem: Uint8Array | string): Buffer {
  return typeof pem === "string" ? Buffer.from(pem) : Buffer.from(pem.buffer, pem.byteOffset, pem.byteLength);
}

function checkTimeout(timeoutMs: number | undefined): void {
  if (timeoutMs !== undefined && !(typeof timeoutMs === "number" && timeoutMs >= 0)) {
    throw new TypeError("timeoutMs: must be a number of milliseconds, 0 or more");
  }
}

function checkTarget(target: string): void {
  if (typeof target !== "string" || target === "" || /\s/.test(target)) {
    throw new TypeError("target: must be HOST:PORT, or another gRPC name, without spaces");
  }
  if (/^https?:\/\//i.test(target)) {
    throw new TypeError("target: must be HOST:PORT without http://; TLS is chosen by tls");
  }
  const port = /:(\d+)$/.exec(target)?.[1];
  if (port !== undefined && Number(port) > LAST_PORT) throw new TypeError(`target: there is no port ${port}`);
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/**
 * Whether what is sent there stays on this machine. Names other than localhost do not count, nor does anything with a
 * name server of the caller's choice (dns://server/name), which decides what a name means.
 */
function isLocal(target: string): boolean {
  if (/^unix(-abstract)?:/.test(target)) return true;
  const host = target.replace(/^(dns|ipv4|ipv6):(\/\/\/)?/i, "");
  if (host.includes("/")) return false;
  const match = /^\[(.*)\](?::\d+)?$|^([^:]*)(?::\d+)?$/.exec(host);
  const name = match?.[1] ?? match?.[2] ?? host;
  if (name.toLowerCase() === "localhost") return true;
  const version = isIP(name);
  return version !== 0 && LOOPBACK.check(name, version === 4 ? "ipv4" : "ipv6");
}
