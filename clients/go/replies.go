package embedwire

import (
	"encoding/binary"
	"fmt"
	"math"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

var cacheStatuses = map[pb.CacheStatus]CacheStatus{
	pb.CacheStatus_CACHE_STATUS_UNSPECIFIED: "",
	pb.CacheStatus_CACHE_STATUS_HIT:         CacheHit,
	pb.CacheStatus_CACHE_STATUS_COALESCED:   CacheCoalesced,
	pb.CacheStatus_CACHE_STATUS_MISS:        CacheMiss,
}

var stages = map[pb.ProgressStage]Stage{
	pb.ProgressStage_PROGRESS_STAGE_UPLOADING:  UploadingStage,
	pb.ProgressStage_PROGRESS_STAGE_PREPARING:  PreparingStage,
	pb.ProgressStage_PROGRESS_STAGE_PROCESSING: ProcessingStage,
}

// eventOf decodes an event. It returns nil for an unknown event, which the contract says to ignore.
func eventOf(message *pb.EmbeddingEvent, requestID string) (Event, error) {
	switch event := message.GetEvent().(type) {
	case *pb.EmbeddingEvent_Segment:
		return segmentOf(event.Segment, requestID)
	case *pb.EmbeddingEvent_Result:
		return resultOf(event.Result, requestID), nil
	case *pb.EmbeddingEvent_Progress:
		return progressOf(event.Progress), nil
	}
	return nil, nil
}

// segmentOf returns an interface, so that a nil *Segment cannot be taken for an event.
func segmentOf(message *pb.Segment, requestID string) (Event, error) {
	vector, ok := decode(message.GetVector())
	var uncertainty []float32
	if ok && message.GetUncertainty() != nil {
		uncertainty, ok = decode(message.Uncertainty)
	}
	if !ok {
		return nil, broken(requestID, "the server sent a vector in an unknown encoding")
	}
	found := &Segment{
		InputIndex: int(message.InputIndex), InputKey: message.InputKey, SegmentIndex: int(message.SegmentIndex),
		Modality: UnknownModality, Vector: vector, Uncertainty: uncertainty,
	}
	switch modality := message.Modality.(type) {
	case *pb.Segment_Text:
		found.Modality = TextModality
	case *pb.Segment_Image:
		found.Modality = ImageModality
	case *pb.Segment_Audio:
		found.Modality = AudioModality
		found.StartOffsetSec = modality.Audio.GetStartOffsetSec()
		found.EndOffsetSec = modality.Audio.EndOffsetSec
		found.EmbeddingOption = modality.Audio.GetEmbeddingOption()
		found.EmbeddingScope = modality.Audio.GetEmbeddingScope()
	}
	return found, nil
}

func progressOf(message *pb.InputProgress) *Progress {
	stage, isKnown := stages[message.GetStage()]
	if !isKnown {
		stage = UnknownStage
	}
	return &Progress{
		InputIndex: int(message.GetInputIndex()), InputKey: message.GetInputKey(), Stage: stage,
		UpstreamTaskID: message.GetUpstreamTaskId(),
	}
}

// decode decodes a vector in either encoding of the contract.
func decode(message *pb.Vector) (vector []float32, ok bool) {
	switch form := message.GetForm().(type) {
	case *pb.Vector_FloatValues:
		return form.FloatValues.GetValues(), true
	case *pb.Vector_Float32Le:
		vector = make([]float32, len(form.Float32Le)/4)
		for index := range vector {
			vector[index] = math.Float32frombits(binary.LittleEndian.Uint32(form.Float32Le[4*index:]))
		}
		return vector, len(form.Float32Le)%4 == 0
	}
	return nil, false
}

func resultOf(message *pb.InputResult, requestID string) *Result {
	timings := message.GetTimings()
	cacheStatus, isKnown := cacheStatuses[message.CacheStatus]
	if !isKnown {
		cacheStatus = UnknownCacheStatus
	}
	found := &Result{
		InputIndex: int(message.InputIndex), InputKey: message.InputKey, ModelName: message.ModelName,
		Dimensions: int(message.Dimensions), SegmentCount: int(message.SegmentCount),
		InputURL: message.GetMetadata().GetInputUrl(), InputFilename: message.GetMetadata().GetInputFilename(),
		Truncated: message.Truncated, MediaDurationSec: message.MediaDurationSec, Attempts: int(message.Attempts),
		Timings: Timings{
			Queue: timings.GetQueue().AsDuration(), Upload: timings.GetUpload().AsDuration(),
			Upstream: timings.GetUpstream().AsDuration(), Decode: timings.GetDecode().AsDuration(),
		},
		Upstream: message.Upstream, InputTokens: message.InputTokens, UpstreamTaskID: message.UpstreamTaskId,
		CacheStatus: cacheStatus, RequestID: requestID,
	}
	if message.Failure != nil {
		failure := fromFailure(message.Failure, requestID)
		failure.Attempts = found.Attempts
		found.Err = failure
	}
	return found
}

// collect adds an event to the embeddings of its call. It discards progress, and the segments of an input that failed.
func collect(collected []Embedding, event Event, requestID string) error {
	index := event.inputIndex()
	if index < 0 || index >= len(collected) {
		return broken(requestID, fmt.Sprintf("the server answered inputs[%d], which does not exist", index))
	}
	embedding := &collected[index]
	switch event := event.(type) {
	case *Segment:
		embedding.Segments = append(embedding.Segments, event)
	case *Result:
		if embedding.Result = event; event.Err != nil {
			embedding.Segments = nil
		}
	}
	return nil
}

func modelOf(message *pb.Model) Model {
	found := Model{
		Name: message.Name, Aliases: message.Aliases, Dimensions: int(message.Dimensions),
		SupportsUncertainty: message.SupportsUncertainty, Upstreams: message.Upstreams,
	}
	for _, count := range message.SupportedDimensions {
		found.SupportedDimensions = append(found.SupportedDimensions, int(count))
	}
	if text := message.Text; text != nil {
		found.Text = &TextSupport{MaxTokens: int(text.MaxTokens), MaxBytes: text.MaxBytes}
		for _, number := range text.Truncates {
			found.Text.Truncates = append(found.Text.Truncates, truncate(number))
		}
	}
	if image := message.Image; image != nil {
		found.Image = &ImageSupport{
			MediaTypes: image.MediaTypes, MaxBytes: image.MaxBytes, MinSidePx: int(image.MinSidePx),
		}
	}
	if message.Audio != nil {
		found.Audio = audioSupport(message.Audio)
	}
	return found
}

func audioSupport(message *pb.AudioSupport) *AudioSupport {
	found := &AudioSupport{
		MediaTypes: message.MediaTypes, MaxBytes: message.MaxBytes, MaxSyncDurationSec: message.MaxSyncDurationSec,
		MaxDurationSec: message.MaxDurationSec, EmbeddingOptions: message.EmbeddingOptions,
		EmbeddingScopes: message.EmbeddingScopes, EmbeddingTypes: message.EmbeddingTypes,
		FixedSegmentation:   segmentationRange(message.FixedSegmentation),
		DynamicSegmentation: segmentationRange(message.DynamicSegmentation),
	}
	for _, number := range message.ProcessingModes {
		found.ProcessingModes = append(found.ProcessingModes, processingMode(number))
	}
	return found
}

func segmentationRange(message *pb.SegmentationRange) *SegmentationRange {
	if message == nil {
		return nil
	}
	return &SegmentationRange{MinSec: int(message.MinSec), MaxSec: int(message.MaxSec)}
}

// truncate returns the name of a value, also of an unknown one.
func truncate(number pb.Truncate) Truncate {
	if 0 < number && int(number) < len(truncates) {
		return truncates[number]
	}
	return Truncate(number.String())
}
