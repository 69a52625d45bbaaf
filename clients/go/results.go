package embedwire

import (
	"fmt"
	"time"
)

// An Event is a [*Segment], a [*Result] or a [*Progress].
type Event interface{ inputIndex() int }

func (s *Segment) inputIndex() int  { return s.InputIndex }
func (r *Result) inputIndex() int   { return r.InputIndex }
func (p *Progress) inputIndex() int { return p.InputIndex }

// Modality is the modality of a segment.
type Modality string

// The modalities. UnknownModality is one that this version of the client does not know.
const (
	TextModality    Modality = "text"
	ImageModality   Modality = "image"
	AudioModality   Modality = "audio"
	UnknownModality Modality = "unknown"
)

// A Segment is one vector of one input. It is provisional: a failed [Result] of the same input invalidates it. Offsets
// are seconds from the beginning of the file.
type Segment struct {
	InputIndex      int       `json:"input_index"`              // position of its input, from 0
	InputKey        string    `json:"input_key"`                // key of its input
	SegmentIndex    int       `json:"segment_index"`            // position among the segments of the input, from 0
	Modality        Modality  `json:"modality"`                 // modality of its input
	Vector          []float32 `json:"vector"`                   // embedding, of Result.Dimensions values
	StartOffsetSec  float64   `json:"start_offset_sec"`         // start of the window; 0 unless audio
	EndOffsetSec    *float64  `json:"end_offset_sec,omitempty"` // end of the window; nil unless audio, or if unknown
	EmbeddingOption string    `json:"embedding_option"`         // aspect of the audio, for instance "transcription"
	EmbeddingScope  string    `json:"embedding_scope"`          // "clip" for a window of audio, "asset" for the whole file
	Uncertainty     []float32 `json:"uncertainty,omitempty"`    // of each value of Vector; nil unless requested and known
}

// Format prints neither key nor vector, for every verb.
func (s *Segment) Format(state fmt.State, _ rune) {
	fmt.Fprintf(state, "embedwire.Segment(%d of inputs[%d], %s, %d values)",
		s.SegmentIndex, s.InputIndex, s.Modality, len(s.Vector))
}

// A Result is the last event of one input, after its last segment. If Err is not nil, the segments are invalid.
type Result struct {
	InputIndex       int      `json:"input_index"`                  // position of the input, from 0
	InputKey         string   `json:"input_key"`                    // key of the input
	ModelName        string   `json:"model_name"`                   // name as reported by the upstream; empty if the input failed
	Dimensions       int      `json:"dimensions"`                   // length of each vector; 0 if the input failed
	SegmentCount     int      `json:"segment_count"`                // number of segments of this input
	InputURL         string   `json:"input_url,omitempty"`          // URL of the media, as reported by the upstream
	InputFilename    string   `json:"input_filename,omitempty"`     // name of the file, as reported by the upstream
	Truncated        *bool    `json:"truncated,omitempty"`          // whether the input was truncated; nil if unknown
	MediaDurationSec *float64 `json:"media_duration_sec,omitempty"` // duration of the audio in seconds; nil if unknown
	Attempts         int      `json:"attempts"`                     // number of upstream requests
	Timings          Timings  `json:"timings"`                      // time of each phase
	Upstream         string   `json:"upstream"`                     // "twelvelabs", "sandbox" (synthetic vectors), "custom"
	RequestID        string   `json:"request_id"`                   // id of the call in the server's log
	UpstreamTaskID   string   `json:"upstream_task_id,omitempty"`   // identifier of the upstream's task, if there was one
	Err              error    `json:"failure,omitempty"`            // failure of the input, an *Error; nil means success

	InputTokens map[string]int64 `json:"input_tokens,omitempty"` // by kind of content, for instance "audio"
	CacheStatus CacheStatus      `json:"cache_status,omitempty"` // whether the server reused a result; empty if it never does
}

// Format prints neither key nor name, for every verb.
func (r *Result) Format(state fmt.State, _ rune) {
	fmt.Fprintf(state, "embedwire.Result(inputs[%d], %d segments, failed: %t)", r.InputIndex, r.SegmentCount, r.Err != nil)
}

// CacheStatus states whether the server reused a result.
type CacheStatus string

// The cache statuses. UnknownCacheStatus is one that this version of the client does not know.
const (
	CacheHit           CacheStatus = "hit"       // from the cache of the server
	CacheCoalesced     CacheStatus = "coalesced" // from the upstream request of an identical input in flight
	CacheMiss          CacheStatus = "miss"      // neither
	UnknownCacheStatus CacheStatus = "unknown"
)

// Stage is a stage in the processing of an input.
type Stage string

// The stages. UnknownStage is one that this version of the client does not know.
const (
	UploadingStage  Stage = "uploading"  // the file is sent to the upstream
	PreparingStage  Stage = "preparing"  // the upstream prepares the file
	ProcessingStage Stage = "processing" // the upstream computes the embeddings in a task
	UnknownStage    Stage = "unknown"
)

// A Progress is a new stage of one input, before its first segment, if the upstream processes it as an asset or as a
// task. A stage may be repeated.
type Progress struct {
	InputIndex int    `json:"input_index"` // position of the input, from 0
	InputKey   string `json:"input_key"`   // key of the input
	Stage      Stage  `json:"stage"`       // stage that has begun

	// Identifier of the upstream's task, from ProcessingStage on; else empty. With it, [Task] gets the result, also if
	// this call ends before.
	UpstreamTaskID string `json:"upstream_task_id,omitempty"`
}

// Format prints no key, for every verb.
func (p *Progress) Format(state fmt.State, _ rune) {
	fmt.Fprintf(state, "embedwire.Progress(inputs[%d], %s)", p.InputIndex, p.Stage)
}

// Timings are the times that one input spent in each phase. In JSON they are nanoseconds.
type Timings struct {
	Queue    time.Duration `json:"queue"`    // waiting in the queues of the server
	Upload   time.Duration `json:"upload"`   // waiting for the bytes of an upload
	Upstream time.Duration `json:"upstream"` // waiting for the upstream, all attempts together
	Decode   time.Duration `json:"decode"`   // decoding the upstream's response
}

// An Embedding is the result and the segments of one input.
type Embedding struct {
	Result   *Result    `json:"result"`   // result of the input
	Segments []*Segment `json:"segments"` // segments in order; none if the input failed
}

// Vector returns the vector of an input with one segment, such as a text or an image. The error is the failure of the
// input, or states that there are several segments, as audio has them.
func (e *Embedding) Vector() ([]float32, error) {
	if e.Result.Err != nil {
		return nil, e.Result.Err
	}
	if len(e.Segments) != 1 {
		return nil, fmt.Errorf("embedwire: the input has %d segments; use Segments", len(e.Segments))
	}
	return e.Segments[0].Vector, nil
}

// A Model describes the inputs and outputs of one model.
type Model struct {
	Name       string        // name for requests
	Aliases    []string      // other accepted names
	Dimensions int           // length of each vector; vectors of different models are not comparable
	Text       *TextSupport  // nil if the model accepts no text
	Image      *ImageSupport // nil if the model accepts no images
	Audio      *AudioSupport // nil if the model accepts no audio

	SupportedDimensions []int    // accepted by WithDimensions, in ascending order
	SupportsUncertainty bool     // whether WithUncertainty is accepted
	Upstreams           []string // that have the model, as in Result.Upstream; empty if unknown
}

// TextSupport describes the texts that a model accepts.
type TextSupport struct {
	MaxTokens int        // maximum length in tokens, for information: the upstream's tokenizer is not public
	Truncates []Truncate // supported values of Text.Truncate
	MaxBytes  int64      // maximum length in bytes of UTF-8 that the server accepts
}

// ImageSupport describes the images that a model accepts.
type ImageSupport struct {
	MediaTypes []string // for instance "image/png"
	MaxBytes   int64    // maximum file size in bytes
	MinSidePx  int      // minimum width and height in pixels
}

// AudioSupport describes the audio files that a model accepts, and the supported values of the options of [Audio].
type AudioSupport struct {
	MediaTypes          []string           // for instance "audio/mpeg"
	MaxBytes            int64              // maximum file size in bytes
	MaxSyncDurationSec  float64            // maximum duration in seconds with ProcessingModeSync; 0 if unknown
	MaxDurationSec      float64            // maximum duration in seconds in any mode; 0 if unknown
	EmbeddingOptions    []string           // empty if they cannot be selected
	EmbeddingScopes     []string           // for instance "clip" and "asset"
	EmbeddingTypes      []string           // for instance "separate_embedding" and "fused_embedding"
	FixedSegmentation   *SegmentationRange // nil if unsupported
	DynamicSegmentation *SegmentationRange // nil if unsupported
	ProcessingModes     []ProcessingMode   // supported modes
}

// A SegmentationRange is the range of the duration of a segmentation in seconds, both ends included.
type SegmentationRange struct{ MinSec, MaxSec int }
