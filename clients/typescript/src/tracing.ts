/** The trace context of the caller, if the process uses OpenTelemetry. */

type Api = typeof import("@opentelemetry/api");

const api = load();

/**
 * The headers in which the configured propagator sends the active context, for instance traceparent; none without
 * `@opentelemetry/api`. A failure of tracing never fails a call.
 */
export function traceHeaders(): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {};
  try {
    api?.propagation.inject(api.context.active(), headers);
  } catch {
    // See above.
  }
  return headers;
}

function load(): Api | undefined {
  try {
    // An import could not be optional; a require that a bundler sees is included if the package is there.
    // eslint-disable-next-line @typescript-eslint/no-require-imports
    return require("@opentelemetry/api") as Api;
  } catch {
    return undefined;
  }
}
