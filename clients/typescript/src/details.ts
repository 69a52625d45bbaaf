/** Decode failures of the contract: in the trailers of a failed call, and in the result of a failed input. */

import { fromBinary } from "@bufbuild/protobuf";
import { type Duration, anyUnpack } from "@bufbuild/protobuf/wkt";
import { type StatusObject, status as StatusCode } from "@grpc/grpc-js";

import { type EmbedwireError, type Failure, errorOf, failureOf, reasonName, withTask } from "./errors.js";
import * as pb from "./generated/embedwire/v1/embedding_pb.js";
import { StatusSchema } from "./generated/status_pb.js";

const DETAILS_KEY = "grpc-status-details-bin";

/**
 * Return the error for a failed call. Without an embedwire.v1.Failure in its details, the server did not report it.
 *
 * @param taskId - the upstream's task of its only input, as known from its progress, for a failure without one.
 */
export function errorOfStatus(status: StatusObject, requestId: string, taskId = ""): EmbedwireError {
  const code = codeName(status.code);
  const found = failureMessage(status);
  if (found !== undefined) {
    // A proxy may change the status: HAProxy 2.6 changes it to CANCELLED.
    const sent = { ...failure(found), ...(found.code === 0 && { code }) };
    return errorOf(withTask(sent, taskId), requestId, found.attempts);
  }
  const reason = code === "DEADLINE_EXCEEDED" || code === "CANCELLED" ? code : "";
  return errorOf(withTask(failureOf(code, reason, status.details), taskId), requestId);
}

/** Convert a failure message of the contract. */
export function failure(message: pb.Failure): Failure {
  const reply = message.upstreamError;
  return {
    code: codeName(message.code),
    reason: reasonName(message.reason),
    message: message.message,
    violations: message.fieldViolations.map(({ field, description }) => ({ field, description })),
    retryDelayMs: milliseconds(message.retryDelay),
    quotas: message.quotaViolations.map(({ subject, description }) => ({ subject, description })),
    upstream: reply && {
      httpStatus: reply.httpStatus,
      code: reply.code,
      message: reply.message,
      docsUrl: reply.docsUrl,
      rateLimitHeaders: { ...reply.rateLimitHeaders },
      traceId: reply.traceId,
    },
    cause: message.cause,
    upstreamTaskId: message.upstreamTaskId,
  };
}

/** Convert a duration to milliseconds; undefined if there is none. */
export function milliseconds(duration: Duration | undefined): number | undefined {
  return duration && Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}

/** Return the name of a status code, for instance "INVALID_ARGUMENT"; its number if it has none. */
function codeName(code: number): string {
  return StatusCode[code] ?? String(code);
}

function failureMessage(status: StatusObject): pb.Failure | undefined {
  const [value] = status.metadata.get(DETAILS_KEY);
  if (!(value instanceof Buffer)) return undefined;
  try {
    for (const detail of fromBinary(StatusSchema, value).details) {
      const found = anyUnpack(detail, pb.FailureSchema);
      if (found !== undefined) return found;
    }
  } catch {
    // Invalid details are not from this server; the code and the message are still valid.
  }
  return undefined;
}
