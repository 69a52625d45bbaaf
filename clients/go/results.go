package embedwire

import (
	"fmt"
	"time"
)

// An Event is a [*Segment] or a [*Result].
type Event interface{ inputIndex() int }

func (s *Segment) inputIndex() int { return s.InputIndex }
func (r *Result) inputIndex() int  { return r.InputIndex }

// Modality says what a segment is a part of.
type Modality string

// The modalities; UnknownModality is one that the server knows and this client does not.
const (
	TextModality    Modality = "text"
	ImageModality   Modality = "image"
	AudioModality   Modality = "audio"
	UnknownModality Modality = "unknown"
)

// A Segment is one vector of one input. It is provisional: a failed [Result] of the same input voids it.
type Segment struct {
	InputIndex      int       `json:"input_index"`              // which input it belongs to, counted from 0
	InputKey        string    `json:"input_key"`                // the key of that input
	SegmentIndex    int       `json:"segment_index"`            // its position among the segments of the input, from 0
	Modality        Modality  `json:"modality"`                 // what it is a part of
	Vector          []float32 `json:"vector"`                   // the embedding
	StartOffsetSec  float64   `json:"start_offset_sec"`         // start of the window in the file; 0 unless audio
	EndOffsetSec    *float64  `json:"end_offset_sec,omitempty"` // end of the window; nil unless audio, or if it is not known
	EmbeddingOption string    `json:"embedding_option"`         // what of the audio was embedded, for instance "transcription"
}

// Format shows neither key nor vector, whatever the verb.
func (s *Segment) Format(state fmt.State, _ rune) {
	fmt.Fprintf(state, "embedwire.Segment(%d of inputs[%d], %s, %d values)",
		s.SegmentIndex, s.InputIndex, s.Modality, len(s.Vector))
}

// A Result is the end of one input, after its last segment. With an error, its segments are void.
type Result struct {
	InputIndex       int      `json:"input_index"`                  // which input, counted from 0
	InputKey         string   `json:"input_key"`                    // the key of that input
	ModelName        string   `json:"model_name"`                   // the model as the upstream names it; empty if the input failed
	Dimensions       int      `json:"dimensions"`                   // length of each vector; 0 if the input failed
	SegmentCount     int      `json:"segment_count"`                // how many segments were sent for this input
	InputURL         string   `json:"input_url,omitempty"`          // the URL of the media, in the upstream's words
	InputFilename    string   `json:"input_filename,omitempty"`     // the name of the file, in the upstream's words
	Truncated        *bool    `json:"truncated,omitempty"`          // whether the input was cut; nil if that is not known
	MediaDurationSec *float64 `json:"media_duration_sec,omitempty"` // length of the audio; nil if that is not known
	Attempts         int      `json:"attempts"`                     // how many upstream requests were made
	Timings          Timings  `json:"timings"`                      // where the time went
	Upstream         string   `json:"upstream"`                     // "twelvelabs", "sandbox" (vectors are made up) or "custom"
	RequestID        string   `json:"request_id"`                   // the id of the call in the server's log
	Err              error    `json:"failure,omitempty"`            // why the input failed, an *Error; nil means success
}

// Format shows neither key nor name, whatever the verb.
func (r *Result) Format(state fmt.State, _ rune) {
	fmt.Fprintf(state, "embedwire.Result(inputs[%d], %d segments, failed: %t)", r.InputIndex, r.SegmentCount, r.Err != nil)
}

// Timings says where the time of one input went. As JSON they are nanoseconds.
type Timings struct {
	Queue    time.Duration `json:"queue"`    // waiting for a turn within the server
	Upload   time.Duration `json:"upload"`   // waiting for the bytes of an upload
	Upstream time.Duration `json:"upstream"` // waiting for the upstream, over all attempts
	Decode   time.Duration `json:"decode"`   // decoding the upstream's reply
}

// An Embedding is everything of one input.
type Embedding struct {
	Result   *Result    `json:"result"`   // how it ended
	Segments []*Segment `json:"segments"` // its segments in their order; none if the input failed
}

// Vector is the only vector, as texts and images have it. The failure of the input is the error; so is it that there
// are several segments, as audio has them.
func (e *Embedding) Vector() ([]float32, error) {
	if e.Result.Err != nil {
		return nil, e.Result.Err
	}
	if len(e.Segments) != 1 {
		return nil, fmt.Errorf("embedwire: there are %d segments; take them from Segments", len(e.Segments))
	}
	return e.Segments[0].Vector, nil
}

// A Model is what one model accepts and returns.
type Model struct {
	Name       string        // the name to put into a request
	Aliases    []string      // other spellings that mean the same model
	Dimensions int           // length of every vector; those of different models are not comparable
	Text       *TextSupport  // nil if it takes none
	Image      *ImageSupport // nil if it takes none
	Audio      *AudioSupport // nil if it takes none
}

// TextSupport is the text that a model accepts.
type TextSupport struct {
	MaxTokens int        // for information: the upstream's tokenizer is not public
	Truncates []Truncate // those that the model can honour
	MaxBytes  int64      // longest text in bytes of UTF-8 that the server accepts
}

// ImageSupport is the images that a model accepts.
type ImageSupport struct {
	MediaTypes []string // for instance "image/png"
	MaxBytes   int64    // largest file in bytes
	MinSidePx  int      // least width and height in pixels
}

// AudioSupport is the audio that a model accepts.
type AudioSupport struct {
	MediaTypes []string // for instance "audio/mpeg"
	MaxBytes   int64    // largest file in bytes
}
