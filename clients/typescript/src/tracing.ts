/** The trace context of the caller, if the process uses OpenTelemetry. */

type Api = typeof import("@opentelemetry/api");

const api = load();

/**
 * Return the headers of the active trace context as the configured propagator writes them, for instance traceparent;
 * none without `@opentelemetry/api`. A failure of tracing never fails a call.
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
    // An import cannot be optional; a bundler includes a visible require if the package is installed.
    // eslint-disable-next-line @typescript-eslint/no-require-imports
    return require("@opentelemetry/api") as Api;
  } catch {
    return undefined;
  }
}
