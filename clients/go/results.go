package embedwire

import (
	"fmt"
	"time"
)

// An Event is a [*Segment] or a [*Result].
type Event interface{ isEvent() }

func (*Segment) isEvent() {}
func (*Result) isEvent()  {}

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
	InputIndex      int       // which input it belongs to, counted from 0
	InputKey        string    // the key of that input
	SegmentIndex    int       // its position among the segments of the input, counted from 0
	Modality        Modality  // what it is a part of
	Vector          []float32 // the embedding
	StartOffsetSec  float64   // start of the window in seconds from the beginning of the file; 0 unless audio
	EndOffsetSec    *float64  // end of the window; nil unless audio, or if the upstream does not tell
	EmbeddingOption string    // what of the audio was embedded, in the upstream's words, for instance "transcription"
}

// Format shows neither key nor vector, whatever the verb.
func (s *Segment) Format(state fmt.State, _ rune) {
	fmt.Fprintf(state, "embedwire.Segment(%d of inputs[%d], %s, %d values)",
		s.SegmentIndex, s.InputIndex, s.Modality, len(s.Vector))
}

// A Result is the end of one input, after its last segment. With an error, its segments are void.
type Result struct {
	InputIndex       int      // which input, counted from 0
	InputKey         string   // the key of that input
	ModelName        string   // the model as the upstream names it; empty if the input failed
	Dimensions       int      // length of each vector; 0 if the input failed
	SegmentCount     int      // how many segments were sent for this input
	InputURL         string   // the URL of the media, in the upstream's words; empty for anything else
	InputFilename    string   // the name of the file, in the upstream's words; empty for anything else
	Truncated        *bool    // whether the input was cut; nil if the upstream does not tell
	MediaDurationSec *float64 // length of the audio in seconds; nil if the upstream does not tell
	Attempts         int      // how many upstream requests were made
	Timings          Timings  // where the time went
	Upstream         string   // "twelvelabs", "sandbox" or "custom"; vectors of the sandbox are made up
	RequestID        string   // the id of the call, under which the server's log has the details
	Err              error    // why the input failed, an *Error; nil means success
}

// Format shows neither key nor name, whatever the verb.
func (r *Result) Format(state fmt.State, _ rune) {
	fmt.Fprintf(state, "embedwire.Result(inputs[%d], %d segments, failed: %t)", r.InputIndex, r.SegmentCount, r.Err != nil)
}

// Timings says where the time of one input went.
type Timings struct {
	Queue    time.Duration // waiting for a turn within the server
	Upload   time.Duration // waiting for the bytes of an upload
	Upstream time.Duration // waiting for the upstream, over all attempts
	Decode   time.Duration // decoding the upstream's reply
}

// An Embedding is everything of one input.
type Embedding struct {
	Result   *Result    // how it ended
	Segments []*Segment // its segments in their order; none if the input failed
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
