/** Runs the jobs of the conformance suite: one JSON a line on stdin, one outcome a line on stdout. */

import { createReadStream, readFileSync } from "node:fs";
import { createInterface } from "node:readline";

import {
  type AudioInput,
  type AudioSupport,
  Client,
  type EmbedOptions,
  type Embedding,
  EmbedwireError,
  type Encoding,
  type Event,
  type Failure,
  type FileSource,
  type Input,
  type MapOptions,
  type Model,
  type ProcessingMode,
  type Segmentation,
  type SegmentationRange,
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
  end_offset_sec?: number | null;
  segmentation?: { fixed: number } | { dynamic: number } | null;
  embedding_options?: string[];
  embedding_scopes?: string[];
  embedding_types?: string[];
  processing_mode?: ProcessingMode | null;
  url?: string;
  path?: string;
  data?: string;
  stream?: string;
  asset_id?: string;
  task_id?: string;
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
  dimensions?: number | null;
  include_uncertainty?: boolean;
  on_progress?: boolean;
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
  progress: object[];
  models: object[] | null;
  error: object | null;
  cancelled: boolean;
}

async function run(job: Job): Promise<Outcome> {
  const outcome: Outcome = { name: job.name, events: [], progress: [], models: null, error: null, cancelled: false };
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
  const options: EmbedOptions = {
    timeoutMs: job.timeout == null ? undefined : job.timeout * 1000,
    maxRetries: job.max_retries ?? undefined,
    requestId: job.request_id ?? undefined,
    encoding: job.encoding ?? undefined,
    dimensions: job.dimensions ?? undefined,
    includeUncertainty: job.include_uncertainty,
    onProgress: job.on_progress ? (progress) => outcome.progress.push(written(progress)) : undefined,
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
  if (job.task_id !== undefined) return { audio: { taskId: job.task_id }, key: job.key };
  const file = { ...source(job), fileName: job.file_name, mediaType: job.media_type };
  if (job.kind === "image") return { image: file, key: job.key };
  return { audio: audio(job, file), key: job.key };
}

function audio(job: JobInput, file: FileSource): AudioInput["audio"] {
  const options = {
    startOffsetSec: job.start_offset_sec ?? undefined,
    endOffsetSec: job.end_offset_sec ?? undefined,
    segmentation: job.segmentation == null ? undefined : segmentation(job.segmentation),
    embeddingOptions: listed(job.embedding_options),
    embeddingScopes: listed(job.embedding_scopes),
    embeddingTypes: listed(job.embedding_types),
    processingMode: job.processing_mode ?? undefined,
  };
  return { ...file, ...options };
}

function segmentation(given: NonNullable<JobInput["segmentation"]>): Segmentation {
  return "fixed" in given ? { fixed: { durationSec: given.fixed } } : { dynamic: { minDurationSec: given.dynamic } };
}

/** A list, unless it is empty, which the protocol uses for one that is not passed. */
function listed(names: string[] | undefined): string[] | undefined {
  return names?.length ? names : undefined;
}

function source({ url, path, data, stream, asset_id: assetId }: JobInput): FileSource {
  if (url !== undefined) return { url };
  if (assetId !== undefined) return { assetId };
  if (path !== undefined) return { path };
  if (data !== undefined) return { data: Buffer.from(data, "base64") };
  return { stream: createReadStream(stream ?? "") };
}

function written(event: Event): object {
  if (event.type === "progress") {
    const { inputIndex, inputKey, stage, upstreamTaskId } = event;
    return { progress: { input_index: inputIndex, input_key: inputKey, stage, upstream_task_id: upstreamTaskId } };
  }
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
        embedding_scope: event.embeddingScope,
        vector: packed(event.vector),
        uncertainty: event.uncertainty === undefined ? null : packed(event.uncertainty),
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
      input_tokens: event.inputTokens,
      upstream_task_id: event.upstreamTaskId,
      cache_status: event.cacheStatus ?? null,
      failure: event.failure ? facts(event.failure) : null,
    },
  };
}

function packed(vector: Float32Array): string {
  return Buffer.from(vector.buffer).toString("base64");
}

function facts(failure: Failure): object {
  const { code, reason, message, violations, retryDelayMs, quotas, upstream, cause } = failure;
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
          trace_id: upstream.traceId,
        }
      : null,
    cause,
    upstream_task_id: failure.upstreamTaskId,
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

function model(found: Model): object {
  const { name, aliases, dimensions, text, image, audio } = found;
  return {
    name,
    aliases,
    dimensions,
    text: text ? { max_tokens: text.maxTokens, truncates: text.truncates, max_bytes: text.maxBytes } : null,
    image: image ? { media_types: image.mediaTypes, max_bytes: image.maxBytes, min_side_px: image.minSidePx } : null,
    audio: audio ? audioSupport(audio) : null,
    supported_dimensions: found.supportedDimensions,
    supports_uncertainty: found.supportsUncertainty,
    upstreams: found.upstreams,
  };
}

function audioSupport(audio: AudioSupport): object {
  return {
    media_types: audio.mediaTypes,
    max_bytes: audio.maxBytes,
    max_sync_duration_sec: audio.maxSyncDurationSec,
    max_duration_sec: audio.maxDurationSec,
    embedding_options: audio.embeddingOptions,
    embedding_scopes: audio.embeddingScopes,
    embedding_types: audio.embeddingTypes,
    fixed_segmentation: range(audio.fixedSegmentation),
    dynamic_segmentation: range(audio.dynamicSegmentation),
    processing_modes: audio.processingModes,
  };
}

function range(found: SegmentationRange | undefined): object | null {
  return found ? { min_sec: found.minSec, max_sec: found.maxSec } : null;
}

async function main(): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await run(JSON.parse(line) as Job))}\n`);
  }
}

void main();
