/** Runs the jobs of the conformance suite: one JSON a line on stdin, one outcome a line on stdout. */

import { createReadStream, readFileSync } from "node:fs";
import { createInterface } from "node:readline";

import {
  type CallOptions,
  Client,
  type Embedding,
  EmbedwireError,
  type Encoding,
  type Event,
  type Failure,
  type FileSource,
  type Input,
  type MapOptions,
  type Model,
  type TLS,
  type Truncate,
} from "@embedwire/client";

interface JobInput {
  kind: "text" | "image" | "audio";
  key?: string;
  value?: string;
  truncate?: Truncate | null;
  file_name?: string;
  media_type?: string;
  start_offset_sec?: number | null;
  url?: string;
  path?: string;
  data?: string;
  stream?: string;
}

interface Job {
  name: string;
  target: string;
  tls?: Partial<
    Record<"root_certificates" | "certificate_chain" | "private_key" | "server_name", string | null>
  > | null;
  token?: string | null;
  upstream_api_key?: string | null;
  timeout?: number | null;
  wait_for_ready?: boolean;
  call: "stream" | "embed" | "map" | "models";
  model: string;
  max_retries?: number | null;
  request_id?: string | null;
  encoding?: Encoding | null;
  inputs: JobInput[];
  cancel_after?: number | null;
  channels?: number | null;
  map?: Partial<
    Record<"inputs_per_call" | "concurrent_calls" | "run_timeout", number | null> & { count_waits: boolean | null }
  > | null;
}

interface Outcome {
  name: string;
  events: object[];
  models: object[] | null;
  error: object | null;
  cancelled: boolean;
}

async function run(job: Job): Promise<Outcome> {
  const outcome: Outcome = { name: job.name, events: [], models: null, error: null, cancelled: false };
  let client: Client | undefined;
  try {
    client = new Client(job.target, {
      tls: tls(job.tls),
      token: job.token ?? undefined,
      upstreamApiKey: job.upstream_api_key ?? undefined,
      waitForReady: job.wait_for_ready,
      channels: job.channels ?? undefined,
    });
    await call(client, job, outcome);
  } catch (error) {
    outcome.error = raised(error);
  } finally {
    client?.close();
  }
  return outcome;
}

async function call(client: Client, job: Job, outcome: Outcome): Promise<void> {
  const options: CallOptions = {
    timeoutMs: job.timeout == null ? undefined : job.timeout * 1000,
    maxRetries: job.max_retries ?? undefined,
    requestId: job.request_id ?? undefined,
    encoding: job.encoding ?? undefined,
  };
  if (job.call === "models") {
    outcome.models = (await client.models(options)).map(model);
    return;
  }
  const inputs = job.inputs.map(input);
  if (job.call === "stream") {
    for await (const event of client.stream(job.model, inputs, options)) {
      outcome.events.push(written(event));
      outcome.cancelled = outcome.events.length === job.cancel_after;
      if (outcome.cancelled) break;
    }
    return;
  }
  if (job.call === "map") {
    for await (const { segments, result } of client.map(job.model, inputs, { ...options, ...mapOptions(job.map) })) {
      outcome.events.push(...[...segments, result].map(written));
    }
    return;
  }
  const found = await client.embed(job.model, inputs, options);
  outcome.events = found.flatMap(({ segments, result }: Embedding) => [...segments, result].map(written));
}

function mapOptions(job: Job["map"]): MapOptions {
  return {
    inputsPerCall: job?.inputs_per_call ?? undefined,
    concurrentCalls: job?.concurrent_calls ?? undefined,
    runTimeoutMs: job?.run_timeout == null ? undefined : job.run_timeout * 1000,
    countWaits: job?.count_waits ?? undefined,
  };
}

function tls(job: Job["tls"]): TLS | undefined {
  if (job == null) return undefined;
  const read = (path: string | null | undefined) => (path == null ? undefined : readFileSync(path));
  return {
    rootCertificates: read(job.root_certificates),
    certificateChain: read(job.certificate_chain),
    privateKey: read(job.private_key),
    serverName: job.server_name ?? undefined,
  };
}

function input(job: JobInput): Input {
  if (job.kind === "text") return { text: job.value ?? "", key: job.key, truncate: job.truncate ?? undefined };
  const file = { ...source(job), fileName: job.file_name, mediaType: job.media_type };
  if (job.kind === "image") return { image: file, key: job.key };
  return { audio: { ...file, startOffsetSec: job.start_offset_sec ?? undefined }, key: job.key };
}

function source({ url, path, data, stream }: JobInput): FileSource {
  if (url !== undefined) return { url };
  if (path !== undefined) return { path };
  if (data !== undefined) return { data: Buffer.from(data, "base64") };
  return { stream: createReadStream(stream ?? "") };
}

function written(event: Event): object {
  if (event.type === "segment") {
    const { inputIndex, inputKey, segmentIndex, modality, startOffsetSec, endOffsetSec, embeddingOption } = event;
    return {
      segment: {
        input_index: inputIndex,
        input_key: inputKey,
        segment_index: segmentIndex,
        modality,
        start_offset_sec: startOffsetSec ?? null,
        end_offset_sec: endOffsetSec ?? null,
        embedding_option: embeddingOption,
        vector: Buffer.from(event.vector.buffer).toString("base64"),
      },
    };
  }
  return {
    result: {
      input_index: event.inputIndex,
      input_key: event.inputKey,
      model_name: event.modelName,
      dimensions: event.dimensions,
      segment_count: event.segmentCount,
      input_url: event.inputUrl ?? null,
      input_filename: event.inputFilename ?? null,
      truncated: event.truncated ?? null,
      media_duration_sec: event.mediaDurationSec ?? null,
      attempts: event.attempts,
      upstream: event.upstream,
      failure: event.failure ? facts(event.failure) : null,
    },
  };
}

function facts({ code, reason, message, violations, retryDelayMs, quotas, upstream, cause }: Failure): object {
  return {
    code,
    reason,
    message,
    violations,
    retry_delay: retryDelayMs === undefined ? null : retryDelayMs / 1000,
    quotas,
    upstream: upstream
      ? {
          http_status: upstream.httpStatus,
          code: upstream.code,
          message: upstream.message,
          docs_url: upstream.docsUrl,
          rate_limit_headers: upstream.rateLimitHeaders,
        }
      : null,
    cause,
  };
}

function raised(error: unknown): object {
  if (error instanceof EmbedwireError) {
    const { attempts, requestId } = error;
    return { kind: error.name, ...facts(error.failure), attempts, request_id: requestId };
  }
  if (!(error instanceof Error)) throw error;
  // What Node.js says of a file names the call of the system that failed.
  const kind = "syscall" in error ? "File" : error instanceof TypeError ? "Argument" : null;
  if (kind === null) throw error;
  return { kind, message: error.message };
}

function model({ name, aliases, dimensions, text, image, audio }: Model): object {
  return {
    name,
    aliases,
    dimensions,
    text: text ? { max_tokens: text.maxTokens, truncates: text.truncates, max_bytes: text.maxBytes } : null,
    image: image ? { media_types: image.mediaTypes, max_bytes: image.maxBytes, min_side_px: image.minSidePx } : null,
    audio: audio ? { media_types: audio.mediaTypes, max_bytes: audio.maxBytes } : null,
  };
}

async function main(): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await run(JSON.parse(line) as Job))}\n`);
  }
}

void main();
