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
  /** The upstream's message; empty if it gave none. */
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
   * From the closed list of the contract, for instance "INPUT_REJECTED"; empty where gRPC itself ended the call and
   * does not say why.
   */
  readonly reason: string;
  /** One sentence for a developer. Not meant to be parsed. */
  readonly message: string;
  /** Which fields of the request are at fault; at most 20 are listed, then how many more. */
  readonly violations: readonly FieldViolation[];
  /** Milliseconds to wait before another try; null if waiting is not known to help. */
  readonly retryDelayMs: number | null;
  /** Which quotas were hit. */
  readonly quotas: readonly QuotaViolation[];
  /** What the upstream said; null if it said nothing. */
  readonly upstream: UpstreamReply | null;
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

  /** Milliseconds to wait before another try; null if waiting is not known to help. */
  get retryDelayMs(): number | null {
    return this.#failure.retryDelayMs;
  }

  /** Which quotas were hit. */
  get quotas(): readonly QuotaViolation[] {
    return this.#failure.quotas;
  }

  /** What the upstream said; null if it said nothing. */
  get upstream(): UpstreamReply | null {
    return this.#failure.upstream;
  }
}

/** The caller can mend it: the request, its files, its credentials, its deadline. */
export class RequestError extends EmbedwireError {}

/** The time of the call is up. Inputs without a result are unanswered. */
export class DeadlineExceededError extends RequestError {}

/** A policy of the server refused the call or the input; later, or elsewhere, it may work. */
export class RefusedError extends EmbedwireError {}

/** The upstream failed, or refused the server. */
export class UpstreamError extends EmbedwireError {}

/** The server failed, or answered what this client does not understand. */
export class GatewayError extends EmbedwireError {}

/** No server answered, or it is shutting down. */
export class UnreachableError extends EmbedwireError {}

type Kind = typeof EmbedwireError;

const GROUPS: readonly Kind[] = [RequestError, RefusedError, UpstreamError, GatewayError];
const GROUP_SIZE = 100;

// Where the reason is missing, or newer than this client, the status code tells the group.
const BY_CODE: ReadonlyMap<string, Kind> = new Map<string, Kind>([
  ["DEADLINE_EXCEEDED", DeadlineExceededError],
  ["UNAVAILABLE", UnreachableError],
  ["INVALID_ARGUMENT", RequestError],
  ["NOT_FOUND", RequestError],
  ["CANCELLED", RequestError],
  ["UNAUTHENTICATED", RequestError],
  ["PERMISSION_DENIED", RequestError],
  ["RESOURCE_EXHAUSTED", RequestError],
]);

/** The error that says this. */
export function errorOf(failure: Failure, requestId: string, attempts = 0): EmbedwireError {
  return new (kindOf(failure))(failure, requestId, attempts);
}

/** The server answered what it must not. */
export function broken(message: string, requestId: string): GatewayError {
  const nothing = { violations: [], retryDelayMs: null, quotas: [], upstream: null, cause: "" };
  return new GatewayError({ code: "INTERNAL", reason: "INTERNAL", message, ...nothing }, requestId);
}

/** The name of a reason without its prefix; its number if this client does not know it; empty if it is not set. */
export function reasonName(number: number): string {
  return number === 0 ? "" : (ErrorReason[number] ?? String(number));
}

function kindOf(failure: Failure): Kind {
  if (failure.reason === "DEADLINE_EXCEEDED") return DeadlineExceededError;
  const number = /^\d+$/.test(failure.reason) ? Number(failure.reason) : numberOf(failure.reason);
  const group = number > 0 ? GROUPS[Math.floor(number / GROUP_SIZE)] : undefined;
  return group ?? BY_CODE.get(failure.code) ?? GatewayError;
}

function numberOf(reason: string): number {
  const number: unknown = Object.hasOwn(ErrorReason, reason) ? ErrorReason[reason as keyof typeof ErrorReason] : 0;
  return typeof number === "number" ? number : 0;
}
