/** Why a call or an input failed. */

import { ErrorReason } from "./generated/embedwire/v1/error_reason_pb.js";

/** One faulty field. */
export interface FieldViolation {
  /** Path of the field in the request, for instance "inputs[2].audio.source.url". */
  readonly field: string;
  /** What is wrong, which limit holds, and what to do. */
  readonly description: string;
}

/** One quota that was hit. */
export interface QuotaViolation {
  /** What the quota counts for, for instance "modality:audio". */
  readonly subject: string;
  /** The quota, its limit and when it frees up. */
  readonly description: string;
}

/** What the upstream said of a failure, cut to 1 KB and without control characters. */
export interface UpstreamReply {
  /** Status of the HTTP reply. */
  readonly httpStatus: number;
  /** The upstream's error code, for instance "parameter_invalid"; empty if it gave none. */
  readonly code: string;
  /** The upstream's message; empty if it gave none, or in the error of a call if it is the same as that of the error. */
  readonly message: string;
  /** Where the upstream documents the error; empty if it does not say. */
  readonly docsUrl: string;
  /** The rate limit headers of the reply, with lower-case names. */
  readonly rateLimitHeaders: Readonly<Record<string, string>>;
}

/** Why an input, or a call, failed. */
export interface Failure {
  /** Name of the gRPC status code, for instance "INVALID_ARGUMENT". */
  readonly code: string;
  /**
   * From the closed list of the contract, for instance "INPUT_REJECTED". Empty if gRPC or an intermediary, such as a
   * proxy, ended the call: the server may or may not have worked on it.
   */
  readonly reason: string;
  /** One sentence for a developer. Not meant to be parsed. */
  readonly message: string;
  /** Which fields of the request are at fault; at most 20 are listed, then how many more. */
  readonly violations: readonly FieldViolation[];
  /** Milliseconds to wait before another try; undefined if waiting is not known to help. */
  readonly retryDelayMs?: number | undefined;
  /** Which quotas were hit. */
  readonly quotas: readonly QuotaViolation[];
  /** What the upstream said; undefined if it said nothing. */
  readonly upstream?: UpstreamReply | undefined;
  /**
   * Why the upstream could not be reached, or which resource the server lacks, for instance "connection_refused"; empty
   * for all other failures. The contract lists the values.
   */
  readonly cause: string;
}

/**
 * A call or an input failed. The subclass says whose fault it was.
 *
 * `console.log` shows the message and no more of the facts, which may quote what the caller sent.
 */
export class EmbedwireError extends Error {
  readonly #failure: Failure;

  /** The id of the call, under which the server's log has the details. */
  readonly requestId: string;

  /** How many upstream requests were made for the input; 0 if none was, or if it is not known. */
  readonly attempts: number;

  /** Made by the client. */
  constructor(failure: Failure, requestId = "", attempts = 0) {
    const id = requestId && ` (request id ${requestId})`;
    super(`${failure.reason || failure.code}: ${failure.message}${id}`);
    this.#failure = failure;
    this.requestId = requestId;
    this.attempts = attempts;
  }

  /** The name of the class. */
  override get name(): string {
    return this.constructor.name;
  }

  /** All the facts; `failure.message` is the server's sentence alone. */
  get failure(): Failure {
    return this.#failure;
  }

  /** Name of the gRPC status code, for instance "INVALID_ARGUMENT". */
  get code(): string {
    return this.#failure.code;
  }

  /** The reason, for instance "INPUT_REJECTED"; see {@link Failure.reason}. */
  get reason(): string {
    return this.#failure.reason;
  }

  /** Which fields of the request are at fault. */
  get violations(): readonly FieldViolation[] {
    return this.#failure.violations;
  }

  /** Milliseconds to wait before another try; undefined if waiting is not known to help. */
  get retryDelayMs(): number | undefined {
    return this.#failure.retryDelayMs;
  }

  /** Which quotas were hit. */
  get quotas(): readonly QuotaViolation[] {
    return this.#failure.quotas;
  }

  /** What the upstream said; undefined if it said nothing. */
  get upstream(): UpstreamReply | undefined {
    return this.#failure.upstream;
  }
}

/** The caller can correct it: the request, its files, its credentials, its deadline. */
export class RequestError extends EmbedwireError {}

/** The deadline of the call has passed. Inputs without a result are unanswered. */
export class DeadlineExceededError extends RequestError {}

/** A policy of the server refused the call or the input; later, or elsewhere, it may work. */
export class RefusedError extends EmbedwireError {}

/** The upstream failed, or refused the server. */
export class UpstreamError extends EmbedwireError {}

/** The server failed, or sent a response that the contract forbids. */
export class GatewayError extends EmbedwireError {}

/**
 * gRPC itself, or a proxy or load balancer between, ended the call; its reason is empty. The server may or may not have
 * worked on it.
 */
export class TransportError extends EmbedwireError {}

/** The client is closed: it was used after `close()`, or closed while the call was running. */
export class ClosedError extends Error {
  /** Made by the client. */
  constructor() {
    super("the client is closed");
  }

  /** The name of the class. */
  override get name(): string {
    return this.constructor.name;
  }
}

type Kind = typeof EmbedwireError;

const GROUPS: readonly Kind[] = [RequestError, RefusedError, UpstreamError, GatewayError];
const GROUP_SIZE = 100;

/** The error for a failure, by the group of its reason. */
export function errorOf(failure: Failure, requestId = "", attempts = 0): EmbedwireError {
  return new (kindOf(failure))(failure, requestId, attempts);
}

/** A failure of which no more is known than this. */
export function failureOf(code: string, reason: string, message: string): Failure {
  return { code, reason, message, violations: [], quotas: [], cause: "" };
}

/** The failure for a response that the contract forbids. */
export function invalidResponse(message: string): Failure {
  return failureOf("INTERNAL", "INTERNAL", message);
}

/** The name of a reason without its prefix; its number if this client does not know it; empty if it is not set. */
export function reasonName(number: number): string {
  return number === 0 ? "" : (ErrorReason[number] ?? String(number));
}

function kindOf({ reason }: Failure): Kind {
  if (reason === "") return TransportError;
  if (reason === "DEADLINE_EXCEEDED") return DeadlineExceededError;
  const numbers: Readonly<Record<string, string | number>> = ErrorReason;
  return GROUPS[Math.floor(Number(numbers[reason] ?? reason) / GROUP_SIZE)] ?? GatewayError;
}
