/** What a failed call carries in its trailers: google.rpc.Status with its details, as an error. */

import { type DescMessage, type MessageShape, fromBinary } from "@bufbuild/protobuf";
import { type Duration, anyUnpack } from "@bufbuild/protobuf/wkt";
import { type StatusObject, status as StatusCode } from "@grpc/grpc-js";

import { type EmbedwireError, type UpstreamReply, errorOf } from "./errors.js";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  QuotaFailureSchema,
  RetryInfoSchema,
  type Status,
  StatusSchema,
} from "./generated/status_details_pb.js";

const DETAILS_KEY = "grpc-status-details-bin";
const DOMAIN = "embedwire";
const RATE_LIMIT = /^(x-?)?rate-?limit|^retry-after/; // those that the server passes on

/** The error for a failed call: all that its trailers say, or what gRPC itself knows. */
export function errorOfStatus(status: StatusObject, requestId: string): EmbedwireError {
  const code = codeName(status.code);
  const details = statusDetails(status);
  const info = find(details, ErrorInfoSchema);
  if (info?.domain !== DOMAIN) {
    const reason = code === "DEADLINE_EXCEEDED" || code === "CANCELLED" ? code : "";
    const nothing = { violations: [], retryDelayMs: null, quotas: [], upstream: null, cause: "" };
    return errorOf({ code, reason, message: status.details, ...nothing }, requestId);
  }
  const failure = {
    code,
    reason: info.reason,
    message: status.details,
    violations: (find(details, BadRequestSchema)?.fieldViolations ?? []).map(({ field, description }) => ({
      field,
      description,
    })),
    retryDelayMs: milliseconds(find(details, RetryInfoSchema)?.retryDelay),
    quotas: (find(details, QuotaFailureSchema)?.violations ?? []).map(({ subject, description }) => ({
      subject,
      description,
    })),
    upstream: upstreamReply(info.metadata),
    cause: info.metadata["cause"] ?? "",
  };
  return errorOf(failure, requestId, whole(info.metadata["attempts"]));
}

/** The name of a status code, for instance "INVALID_ARGUMENT"; its number if it has none. */
export function codeName(code: number): string {
  return StatusCode[code] ?? String(code);
}

/** A duration in milliseconds; null if there is none. */
export function milliseconds(duration: Duration | undefined): number | null {
  return duration === undefined ? null : Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}

function statusDetails(status: StatusObject): Status | undefined {
  const [value] = status.metadata.get(DETAILS_KEY);
  try {
    return value instanceof Buffer ? fromBinary(StatusSchema, value) : undefined;
  } catch {
    return undefined; // another server's; the code and the message still hold
  }
}

function find<Schema extends DescMessage>(
  status: Status | undefined,
  schema: Schema,
): MessageShape<Schema> | undefined {
  for (const detail of status?.details ?? []) {
    const found = anyUnpack(detail, schema);
    if (found !== undefined) return found;
  }
  return undefined;
}

function whole(text: string | undefined): number {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : 0;
}

function upstreamReply(facts: Record<string, string>): UpstreamReply | null {
  if (facts["http_status"] === undefined) return null;
  return {
    httpStatus: whole(facts["http_status"]),
    code: facts["upstream_code"] ?? "",
    message: facts["upstream_message"] ?? "",
    docsUrl: facts["docs_url"] ?? "",
    rateLimitHeaders: Object.fromEntries(Object.entries(facts).filter(([name]) => RATE_LIMIT.test(name))),
  };
}
