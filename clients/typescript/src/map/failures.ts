/** The failures of a run. They contain the position of an input in the iterator, not its index in a call. */

import { getSystemErrorMap } from "node:util";

import { type Failure, failureOf, withTask } from "../errors.js";
import { SourceError } from "../files.js";
import { Embedding } from "../results.js";
import type { Item } from "./item.js";

const REJECTIONS = ["OVERLOADED", "RATE_LIMITED", "DRAINING"];
const INDEX = /^inputs\[(\d+)\]/;

/** Return whether the server rejected an input, so that it is sent again. */
export function isRejection(failure: Failure): boolean {
  return REJECTIONS.includes(failure.reason) && !isTooLarge(failure);
}

/** Return whether a call alone exceeds a rate limit, so that waiting does not help. */
export function isTooLarge({ reason, retryDelayMs }: Failure): boolean {
  return reason === "RATE_LIMITED" && retryDelayMs === undefined;
}

/** Return whether the server worked on a call that ended with this failure. */
export function isWorkedOn({ reason }: Failure): boolean {
  return ![...REJECTIONS, "DEADLINE_EXCEEDED", "CANCELLED", ""].includes(reason);
}

/** Replace the indices of inputs in a call by their positions in the iterator. */
export function placed(failure: Failure, sent: readonly Item[]): Failure {
  const violations = failure.violations.map(({ field, description }) => ({ field: renamed(field, sent), description }));
  return { ...failure, message: renamed(failure.message, sent), violations };
}

/** Return a separate failure for each input that the violations of a failed call name. */
export function failuresByInput(failure: Failure, sent: readonly Item[]): ReadonlyMap<Item, Failure> {
  const found = new Map<Item, Failure>();
  for (const { field, description } of failure.violations) {
    const item = sent[Number(INDEX.exec(field.replace(/^request\./, ""))?.[1])];
    if (item === undefined) continue;
    const violation = { field: renamed(field, sent), description };
    const before = found.get(item) ?? { ...failure, message: `${violation.field}: ${description}`, violations: [] };
    found.set(item, { ...before, violations: [...before.violations, violation] });
  }
  return found;
}

/** Return the failure of an input whose file cannot be read, without path and content. */
export function unreadable(item: Item, error: unknown): Failure {
  const violation = { field: item.sourceField, description: `cannot be read: ${words(error)}` };
  const message = `${violation.field}: ${violation.description}`;
  return { ...failureOf("INVALID_ARGUMENT", "INVALID_REQUEST", message), violations: [violation] };
}

/** Return the failure of an input whose deadline, or that of the run, passed. */
export function late(message: string): Failure {
  return failureOf("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", message);
}

/** Return the embedding of an input for which the server sent no result. */
export function failed(item: Item, failure: Failure, requestId = "", attempts = 0): Embedding {
  return new Embedding(
    {
      type: "result",
      inputIndex: item.position,
      inputKey: item.input.key ?? "",
      modelName: "",
      dimensions: 0,
      segmentCount: 0,
      attempts,
      timings: { queueMs: 0, uploadMs: 0, upstreamMs: 0, decodeMs: 0 },
      upstream: "",
      failure: withTask(failure, item.taskId),
      requestId,
      inputTokens: {},
      upstreamTaskId: "",
    },
    [],
  );
}

function renamed(text: string, sent: readonly Item[]): string {
  return text.replace(/^request\./, "").replace(INDEX, (found, index) => {
    const item = sent[Number(index)];
    return item === undefined ? found : `inputs[${String(item.position)}]`;
  });
}

/** Return the message of the operating system; of other errors only the class, since their message may have content. */
function words(error: unknown): string {
  if (error instanceof SourceError) return error.message;
  if (!(error instanceof Error)) return "unknown error";
  const errno = "errno" in error ? Number(error.errno) : NaN;
  return getSystemErrorMap().get(errno)?.[1] ?? error.constructor.name;
}
