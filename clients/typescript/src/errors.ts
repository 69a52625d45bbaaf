/** The errors of calls and inputs. */

import { ErrorReason } from "./generated/embedwire/v1/error_reason_pb.js";

/** One invalid field. */
export interface FieldViolation {
  /** Path of the field in the request, for instance "inputs[2].audio.source.url". */
  readonly field: string;
  /** The fault, the limit, and how to correct it. */
  readonly description: string;
}

/** One exhausted quota. */
export interface QuotaViolation {
  /** Subject of the quota, for instance "modality:audio". */
  readonly subject: string;
  /** The quota, its limit, and when it is available again. */
  readonly description: string;
}

/** The error response of the upstream, truncated to 1 KB and without control characters. */
export interface UpstreamReply {
  /** HTTP status code. */
  readonly httpStatus: number;
  /** Error code of the upstream, for instance "parameter_invalid"; empty if there is none. */
  readonly code: string;
  /** Message of the upstream; empty if there is none, or in the error of a call if it equals that of the error. */
  readonly message: string;
  /** URL of the upstream's documentation of the error; empty if there is none. */
  readonly docsUrl: string;
  /** Rate limit headers of the response, with lower-case names. */
  readonly rateLimitHeaders: Readonly<Record<string, string>>;
  /** Identifier of the request at the upstream, for its support; empty if there is none. */
  readonly traceId: string;
}

/** The details of a failed input or call. */
export interface Failure {
  /** Name of the gRPC status code, for instance "INVALID_ARGUMENT". */
  readonly code: string;
  /**
   * Reason from the closed list of the contract, for instance "INPUT_REJECTED". Empty if gRPC or an intermediary, such
   * as a proxy, ended the call: the server may or may not have worked on it.
   */
  readonly reason: string;
  /** One sentence for a developer. Not meant to be parsed. */
  readonly message: string;
  /** Invalid fields of the request; at most 20, then the number of further ones. */
  readonly violations: readonly FieldViolation[];
  /** Milliseconds to wait before another try; undefined if waiting is not known to help. */
  readonly retryDelayMs?: number | undefined;
  /** Exhausted quotas. */
  readonly quotas: readonly QuotaViolation[];
  /** Error response of the upstream; undefined if there is none. */
  readonly upstream?: UpstreamReply | undefined;
  /**
   * Why the upstream could not be reached, or which resource the server lacks, for instance "connection_refused"; empty
   * for all other failures. The contract lists the values.
   */
  readonly cause: string;
  /**
   * Identifier of the upstream's task, if one was created for the failed input; else empty. After a passed deadline, a
   * {@link TaskSource} gets its result. The failure of a call with several inputs has none: {@link Progress} has the
   * identifiers.
   */
  readonly upstreamTaskId: string;
}

/**
 * The failure of a call or of an input. The subclass is the party at fault.
 *
 * `console.log` prints the message but not the other details, which may quote the caller's content.
 */
export class EmbedwireError extends Error {
  readonly #failure: Failure;

  /** Id of the call in the server's log. */
  readonly requestId: string;

  /** Number of upstream requests for the input; 0 if none or unknown. */
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

  /** All details; `failure.message` is the message of the server without reason and request id. */
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

  /** Invalid fields of the request. */
  get violations(): readonly FieldViolation[] {
    return this.#failure.violations;
  }

  /** Milliseconds to wait before another try; undefined if waiting is not known to help. */
  get retryDelayMs(): number | undefined {
    return this.#failure.retryDelayMs;
  }

  /** Exhausted quotas. */
  get quotas(): readonly QuotaViolation[] {
    return this.#failure.quotas;
  }

  /** Error response of the upstream; undefined if there is none. */
  get upstream(): UpstreamReply | undefined {
    return this.#failure.upstream;
  }

  /** Identifier of the upstream's task, else empty; see {@link Failure.upstreamTaskId}. */
  get upstreamTaskId(): string {
    return this.#failure.upstreamTaskId;
  }
}

/** The request, a file, a credential or the deadline is at fault. Correct it. */
export class RequestError extends EmbedwireError {}

/** The deadline of the call passed. Inputs without a result are unanswered. */
export class DeadlineExceededError extends RequestError {}

/** A policy of the server rejected the call or the input. Try again later. */
export class RefusedError extends EmbedwireError {}

/** The upstream failed, or rejected the server. */
export class UpstreamError extends EmbedwireError {}

/** The server failed, or sent an invalid response. */
export class GatewayError extends EmbedwireError {}

/**
 * gRPC, a proxy or a load balancer ended the call, for instance because no server responded; its reason is empty. The
 * server may or may not have worked on it.
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

/** Return the error for a failure. The group of the reason decides its class. */
export function errorOf(failure: Failure, requestId = "", attempts = 0): EmbedwireError {
  return new (kindOf(failure))(failure, requestId, attempts);
}

/** Return a failure without further details. */
export function failureOf(code: string, reason: string, message: string): Failure {
  return { code, reason, message, violations: [], quotas: [], cause: "", upstreamTaskId: "" };
}

/** Return a failure with the identifier of a task, unless it has one. */
export function withTask(failure: Failure, taskId: string): Failure {
  return { ...failure, upstreamTaskId: failure.upstreamTaskId || taskId };
}

/** Return the failure for a response that violates the contract. */
export function invalidResponse(message: string): Failure {
  return failureOf("INTERNAL", "INTERNAL", message);
}

/** Return the name of a reason without its prefix; its number if unknown; empty if not set. */
export function reasonName(number: number): string {
  return number === 0 ? "" : (ErrorReason[number] ?? String(number));
}

function kindOf({ reason }: Failure): Kind {
  if (reason === "") return TransportError;
  if (reason === "DEADLINE_EXCEEDED") return DeadlineExceededError;
  const numbers: Readonly<Record<string, string | number>> = ErrorReason;
  return GROUPS[Math.floor(Number(numbers[reason] ?? reason) / GROUP_SIZE)] ?? GatewayError;
}
