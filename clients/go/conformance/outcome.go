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
	}
}

func (o *outcome) addAll(embedding embedwire.Embedding) {
	for _, segment := range embedding.Segments {
		o.add(segment)
	}
	o.add(embedding.Result)
}

func segmentOf(segment *embedwire.Segment) object {
	var packed []byte
	for _, value := range segment.Vector {
		packed = binary.LittleEndian.AppendUint32(packed, math.Float32bits(value))
	}
	var start any
	if segment.Modality == embedwire.AudioModality {
		start = segment.StartOffsetSec
	}
	return object{
		"input_index": segment.InputIndex, "input_key": segment.InputKey, "segment_index": segment.SegmentIndex,
		"modality": segment.Modality, "start_offset_sec": start, "end_offset_sec": segment.EndOffsetSec,
		"embedding_option": segment.EmbeddingOption, "vector": packed,
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
		"failure": failure,
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
	headers := reply.RateLimitHeaders
	if headers == nil {
		headers = map[string]string{}
	}
	return object{
		"http_status": reply.HTTPStatus, "code": reply.Code, "message": reply.Message, "docs_url": reply.DocsURL,
		"rate_limit_headers": headers,
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
			audio = object{"media_types": listed(model.Audio.MediaTypes), "max_bytes": model.Audio.MaxBytes}
		}
		found = append(found, object{
			"name": model.Name, "aliases": listed(model.Aliases), "dimensions": model.Dimensions,
			"text": text, "image": image, "audio": audio,
		})
	}
	return found
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
