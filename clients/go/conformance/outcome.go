package main

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"

	"github.com/embedwire/embedwire/clients/go"
)

type outcome struct {
	Name      string   `json:"name"`
	Events    []any    `json:"events"`
	Progress  []any    `json:"progress"`
	Models    []object `json:"models"`
	Error     object   `json:"error"`
	Cancelled bool     `json:"cancelled"`
}

type object = map[string]any

func (o *outcome) add(event embedwire.Event) {
	switch event := event.(type) {
	case *embedwire.Segment:
		o.Events = append(o.Events, object{"segment": segmentOf(event)})
	case *embedwire.Result:
		o.Events = append(o.Events, object{"result": resultOf(event)})
	case *embedwire.Progress:
		o.Events = append(o.Events, progressOf(event))
	}
}

// report collects the progress of embed and map; a job with such a function makes one call at a time.
func (o *outcome) report(progress *embedwire.Progress) {
	o.Progress = append(o.Progress, progressOf(progress))
}

func (o *outcome) addAll(embedding embedwire.Embedding) {
	for _, segment := range embedding.Segments {
		o.add(segment)
	}
	o.add(embedding.Result)
}

func progressOf(progress *embedwire.Progress) object {
	return object{"progress": object{
		"input_index": progress.InputIndex, "input_key": progress.InputKey, "stage": progress.Stage,
		"upstream_task_id": progress.UpstreamTaskID,
	}}
}

// packed returns the values of a vector; null in JSON if there is none.
func packed(vector []float32) (found []byte) {
	for _, value := range vector {
		found = binary.LittleEndian.AppendUint32(found, math.Float32bits(value))
	}
	return found
}

func segmentOf(segment *embedwire.Segment) object {
	var start any
	if segment.Modality == embedwire.AudioModality {
		start = segment.StartOffsetSec
	}
	return object{
		"input_index": segment.InputIndex, "input_key": segment.InputKey, "segment_index": segment.SegmentIndex,
		"modality": segment.Modality, "start_offset_sec": start, "end_offset_sec": segment.EndOffsetSec,
		"embedding_option": segment.EmbeddingOption, "embedding_scope": segment.EmbeddingScope,
		"vector": packed(segment.Vector), "uncertainty": packed(segment.Uncertainty),
	}
}

func resultOf(result *embedwire.Result) object {
	failure := errorOf(result.Err)
	for _, name := range []string{"kind", "attempts", "request_id"} {
		delete(failure, name)
	}
	return object{
		"input_index": result.InputIndex, "input_key": result.InputKey, "model_name": result.ModelName,
		"dimensions": result.Dimensions, "segment_count": result.SegmentCount, "input_url": orNull(result.InputURL),
		"input_filename": orNull(result.InputFilename), "truncated": result.Truncated,
		"media_duration_sec": result.MediaDurationSec, "attempts": result.Attempts, "upstream": result.Upstream,
		"failure": failure, "input_tokens": mapped(result.InputTokens), "upstream_task_id": result.UpstreamTaskID,
		"cache_status": orNull(string(result.CacheStatus)),
	}
}

func errorOf(err error) object {
	var said *embedwire.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, embedwire.ErrArgument):
		return object{"kind": "Argument", "message": err.Error()}
	case !errors.As(err, &said):
		return object{"kind": "File", "message": err.Error()}
	}
	return object{
		"kind": said.Kind, "code": code.Code(said.Code).String(), "reason": said.Reason, "message": said.Message,
		"violations": violationsOf(said), "retry_delay": secondsOf(said.RetryDelay), "quotas": quotasOf(said),
		"upstream": upstreamOf(said.Upstream), "cause": said.Cause, "attempts": said.Attempts, "request_id": said.RequestID,
		"upstream_task_id": said.UpstreamTaskID,
	}
}

func violationsOf(said *embedwire.Error) []object {
	found := []object{}
	for _, item := range said.Violations {
		found = append(found, object{"field": item.Field, "description": item.Description})
	}
	return found
}

func quotasOf(said *embedwire.Error) []object {
	found := []object{}
	for _, item := range said.Quotas {
		found = append(found, object{"subject": item.Subject, "description": item.Description})
	}
	return found
}

func upstreamOf(reply *embedwire.UpstreamReply) object {
	if reply == nil {
		return nil
	}
	return object{
		"http_status": reply.HTTPStatus, "code": reply.Code, "message": reply.Message, "docs_url": reply.DocsURL,
		"rate_limit_headers": mapped(reply.RateLimitHeaders), "trace_id": reply.TraceID,
	}
}

func modelsOf(models []embedwire.Model) []object {
	found := []object{}
	for _, model := range models {
		var text, image, audio object
		if model.Text != nil {
			text = object{
				"max_tokens": model.Text.MaxTokens, "truncates": listed(model.Text.Truncates),
				"max_bytes": model.Text.MaxBytes,
			}
		}
		if model.Image != nil {
			image = object{
				"media_types": listed(model.Image.MediaTypes), "max_bytes": model.Image.MaxBytes,
				"min_side_px": model.Image.MinSidePx,
			}
		}
		if model.Audio != nil {
			audio = audioOf(model.Audio)
		}
		found = append(found, object{
			"name": model.Name, "aliases": listed(model.Aliases), "dimensions": model.Dimensions,
			"text": text, "image": image, "audio": audio, "supported_dimensions": listed(model.SupportedDimensions),
			"supports_uncertainty": model.SupportsUncertainty, "upstreams": listed(model.Upstreams),
		})
	}
	return found
}

func audioOf(audio *embedwire.AudioSupport) object {
	return object{
		"media_types": listed(audio.MediaTypes), "max_bytes": audio.MaxBytes,
		"max_sync_duration_sec": audio.MaxSyncDurationSec, "max_duration_sec": audio.MaxDurationSec,
		"embedding_options": listed(audio.EmbeddingOptions), "embedding_scopes": listed(audio.EmbeddingScopes),
		"embedding_types": listed(audio.EmbeddingTypes), "fixed_segmentation": rangeOf(audio.FixedSegmentation),
		"dynamic_segmentation": rangeOf(audio.DynamicSegmentation), "processing_modes": listed(audio.ProcessingModes),
	}
}

func rangeOf(found *embedwire.SegmentationRange) object {
	if found == nil {
		return nil
	}
	return object{"min_sec": found.MinSec, "max_sec": found.MaxSec}
}

// mapped is never null in JSON.
func mapped[V any](items map[string]V) map[string]V {
	if items == nil {
		return map[string]V{}
	}
	return items
}

// listed is never null in JSON.
func listed[T any](items []T) []T { return append([]T{}, items...) }

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func secondsOf(delay *time.Duration) any {
	if delay == nil {
		return nil
	}
	return delay.Seconds()
}
