package embedwire

import (
	"math"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

// ProcessingMode is the way in which the upstream processes an audio file.
type ProcessingMode string

const (
	// The server selects the mode. It selects a task for audio that a synchronous request does not accept.
	ProcessingModeDefault ProcessingMode = ""
	// One synchronous request, which rejects long audio.
	ProcessingModeSync ProcessingMode = "sync"
	// A task, which the upstream completes in the background. It cannot be cancelled, and is billed even if the call
	// ends before.
	ProcessingModeTask ProcessingMode = "task"
)

// By the numbers of the contract.
var processingModes = []ProcessingMode{ProcessingModeDefault, ProcessingModeSync, ProcessingModeTask}

// processingMode returns the name of a value, also of an unknown one.
func processingMode(number pb.ProcessingMode) ProcessingMode {
	if 0 < number && int(number) < len(processingModes) {
		return processingModes[number]
	}
	return ProcessingMode(number.String())
}

// A Segmentation is the division of audio into segments: [FixedSegmentation], [DynamicSegmentation], or the zero value
// for the model's default.
type Segmentation struct {
	kind    segmentationKind
	seconds int
}

type segmentationKind int

const (
	defaultSegmentation segmentationKind = iota
	fixedSegmentation
	dynamicSegmentation
)

// FixedSegmentation divides audio into windows of this duration in seconds, 1 or more.
// [AudioSupport.FixedSegmentation] is the range of a model.
func FixedSegmentation(durationSec int) Segmentation {
	return Segmentation{kind: fixedSegmentation, seconds: durationSec}
}

// DynamicSegmentation divides audio where its content changes, into windows of at least this duration in seconds, 1 or
// more. [AudioSupport.DynamicSegmentation] is the range of a model.
func DynamicSegmentation(minDurationSec int) Segmentation {
	return Segmentation{kind: dynamicSegmentation, seconds: minDurationSec}
}

// message encodes the segmentation, with 0 seconds if they are out of the range of the field; nil for the default.
func (s Segmentation) message() *pb.Segmentation {
	seconds := int32(0)
	if 1 <= s.seconds && s.seconds <= math.MaxInt32 {
		seconds = int32(s.seconds)
	}
	switch s.kind {
	case fixedSegmentation:
		fixed := &pb.FixedSegmentation{DurationSec: seconds}
		return &pb.Segmentation{Method: &pb.Segmentation_Fixed{Fixed: fixed}}
	case dynamicSegmentation:
		dynamic := &pb.DynamicSegmentation{MinDurationSec: seconds}
		return &pb.Segmentation{Method: &pb.Segmentation_Dynamic{Dynamic: dynamic}}
	}
	return nil
}

// checkAudio finds options that cannot be sent. It accepts nil, for an input that is not audio.
func checkAudio(message *pb.AudioInput) error {
	division := message.GetSegmentation()
	switch {
	case message.GetProcessingMode() < 0:
		return &fault{".audio.processing_mode", "unknown ProcessingMode; use one of the constants"}
	case division != nil && division.GetFixed().GetDurationSec()+division.GetDynamic().GetMinDurationSec() == 0:
		return &fault{".audio.segmentation", "the duration must be 1 to 2147483647 seconds"}
	}
	return nil
}
