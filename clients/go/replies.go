package embedwire

import (
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/grpc/codes"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

// next is the next event; nil for one that this client does not know, which the contract tells it to ignore.
func next(receive func() (response, error), requestID string) (Event, error) {
	message, err := receive()
	switch {
	case err != nil:
		return nil, err
	case message.GetSegment() != nil:
		return segment(message.GetSegment(), requestID)
	case message.GetResult() != nil:
		return result(message.GetResult(), requestID), nil
	}
	return nil, nil
}

// segment returns an interface, so that no nil *Segment can look like an event.
func segment(message *pb.Segment, requestID string) (Event, error) {
	vector, ok := decode(message.GetVector())
	if !ok {
		return nil, broken(requestID, "the server sent a vector that cannot be read")
	}
	found := &Segment{
		InputIndex: int(message.InputIndex), InputKey: message.InputKey, SegmentIndex: int(message.SegmentIndex),
		Modality: UnknownModality, Vector: vector,
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
	}
	return found, nil
}

// decode reads a vector of either encoding of the contract.
func decode(message *pb.Vector) (vector []float32, ok bool) {
	data := message.GetData()
	switch message.GetEncoding() {
	case pb.VectorEncoding_VECTOR_ENCODING_FLOAT32_LE:
		vector = make([]float32, len(data)/4)
		for index := range vector {
			vector[index] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*index:]))
		}
		return vector, len(data)%4 == 0
	case pb.VectorEncoding_VECTOR_ENCODING_UNSPECIFIED, pb.VectorEncoding_VECTOR_ENCODING_FLOAT_VALUES:
		return message.GetValues(), true
	}
	return nil, false
}

func result(message *pb.InputResult, requestID string) *Result {
	timings := message.GetTimings()
	found := &Result{
		InputIndex: int(message.InputIndex), InputKey: message.InputKey, ModelName: message.ModelName,
		Dimensions: int(message.Dimensions), SegmentCount: int(message.SegmentCount),
		InputURL: message.GetMetadata().GetInputUrl(), InputFilename: message.GetMetadata().GetInputFilename(),
		Truncated: message.Truncated, MediaDurationSec: message.MediaDurationSec, Attempts: int(message.Attempts),
		Timings: Timings{
			Queue: timings.GetQueue().AsDuration(), Upload: timings.GetUpload().AsDuration(),
			Upstream: timings.GetUpstream().AsDuration(), Decode: timings.GetDecode().AsDuration(),
		},
		Upstream: message.Upstream, RequestID: requestID,
	}
	if message.Failure != nil {
		failure := fromFailure(message.Failure)
		failure.Attempts, failure.RequestID = found.Attempts, requestID
		found.Err = failure
	}
	return found
}

// collect adds an event to the embeddings of its call, and drops the segments of an input that failed.
func collect(collected []Embedding, event Event, requestID string) error {
	at := func(index int) (*Embedding, error) {
		if index >= len(collected) {
			return nil, broken(requestID, fmt.Sprintf("the server answered inputs[%d], which does not exist", index))
		}
		return &collected[index], nil
	}
	switch event := event.(type) {
	case *Segment:
		embedding, err := at(event.InputIndex)
		if err != nil {
			return err
		}
		embedding.Segments = append(embedding.Segments, event)
	case *Result:
		embedding, err := at(event.InputIndex)
		if err != nil {
			return err
		}
		if embedding.Result = event; event.Err != nil {
			embedding.Segments = nil
		}
	}
	return nil
}

// unary is the whole answer of a unary call, in the order of the request.
func unary(reply *pb.CreateEmbeddingUnaryResponse, inputs int, requestID string) ([]Embedding, error) {
	if len(reply.Embeddings) != inputs {
		return nil, broken(requestID, fmt.Sprintf("the server answered %d of %d inputs", len(reply.Embeddings), inputs))
	}
	found := make([]Embedding, inputs)
	for index, message := range reply.Embeddings {
		if message.Result == nil {
			return nil, broken(requestID, fmt.Sprintf("the server answered without a result for inputs[%d]", index))
		}
		found[index].Result = result(message.Result, requestID)
		for _, each := range message.Segments {
			event, err := segment(each, requestID)
			if err != nil {
				return nil, err
			}
			found[index].Segments = append(found[index].Segments, event.(*Segment))
		}
	}
	return found, nil
}

func model(message *pb.Model) Model {
	found := Model{Name: message.Name, Aliases: message.Aliases, Dimensions: int(message.Dimensions)}
	if text := message.Text; text != nil {
		found.Text = &TextSupport{MaxTokens: int(text.MaxTokens), MaxBytes: int64(text.MaxBytes)}
		for _, number := range text.Truncates {
			found.Text.Truncates = append(found.Text.Truncates, truncate(number))
		}
	}
	if image := message.Image; image != nil {
		found.Image = &ImageSupport{
			MediaTypes: image.MediaTypes, MaxBytes: int64(image.MaxBytes), MinSidePx: int(image.MinSidePx),
		}
	}
	if audio := message.Audio; audio != nil {
		found.Audio = &AudioSupport{MediaTypes: audio.MediaTypes, MaxBytes: int64(audio.MaxBytes)}
	}
	return found
}

// truncate names also one that this client does not know.
func truncate(number pb.Truncate) Truncate {
	if 0 < number && int(number) < len(truncates) {
		return truncates[number]
	}
	return Truncate(number.String())
}

func broken(requestID, message string) *Error {
	return newError(Error{Code: codes.Internal, Reason: "INTERNAL", Message: message, RequestID: requestID})
}
