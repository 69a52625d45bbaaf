package embedwire

import (
	"cmp"
	"fmt"
	"slices"
	"unicode/utf8"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

const (
	// Files above this size are uploaded in chunks, as the contract recommends.
	inlineBytes = 1 << 20
	// Maximum number of segments in one message of the server.
	segmentsPerMessage = 100
)

// A plan is the request of one call, and the files that follow it in chunks.
type plan struct {
	request   *pb.CreateEmbeddingRequest
	requestID string
	uploads   []*upload
	room      int64         // bytes of files that can still be added to the request
	isUnary   bool          // whether CreateEmbeddingUnary is called
	task      string        // the upstream's task of the only input, as known from its progress
	stopped   chan struct{} // closed when the sender has stopped; nil if the call uploads nothing
}

// newPlan returns a plan without inputs.
func (c *Client) newPlan(model string) (*plan, error) {
	if c.connections.isClosed() {
		return nil, ErrClosed
	}
	if err := c.settings.err; err != nil {
		return nil, err
	}
	if !utf8.ValidString(model) {
		return nil, refusal("model: must be UTF-8")
	}
	request := &pb.CreateEmbeddingRequest{
		ModelName: model, VectorEncoding: c.settings.encoding, MaxRetries: c.settings.maxRetries,
		MaxSegmentsPerMessage: segmentsPerMessage, Dimensions: c.settings.dimensions,
		IncludeUncertainty: c.settings.includeUncertainty,
	}
	return &plan{request: request, requestID: cmp.Or(c.settings.requestID, newRequestID()), room: inlineBytes}, nil
}

// plan returns the plan of a call with these inputs.
func (c *Client) plan(model string, inputs []Input) (*plan, error) {
	planned, err := c.newPlan(model)
	if err != nil {
		return nil, err
	}
	for index, input := range inputs {
		if input == nil {
			return nil, notAnInput(index)
		}
		err := planned.add(input, input.file())
		if fault, ok := err.(*fault); ok {
			return nil, refusal("inputs[%d]%s: %s", index, fault.field, fault.description)
		}
		if err != nil {
			return nil, err
		}
	}
	return planned, nil
}

func notAnInput(index int) error {
	return refusal("inputs[%d]: must be a Text, an Image or an Audio, got nil", index)
}

// A fault is the error of an input that cannot be encoded: the path of the field within the input, and the cause.
type fault struct{ field, description string }

func (f *fault) Error() string { return fmt.Sprintf("%s: %s", f.field, f.description) }

// add encodes an input. The file is nil if it is a text. An error is a *fault, or that of the file.
func (p *plan) add(input Input, file *file) error {
	source, size, err := file.locate(p.room)
	if err != nil {
		return err
	}
	message := input.message(source)
	if err := check(message); err != nil {
		return err
	}
	if announced := source.GetUpload(); announced != nil {
		p.uploads = append(p.uploads, &upload{index: len(p.request.Inputs), file: file, isSized: announced.SizeBytes != nil})
	}
	p.room -= size
	p.request.Inputs = append(p.request.Inputs, message)
	return nil
}

// check finds missing fields, and strings that protobuf cannot encode.
func check(message *pb.Input) error {
	if message.GetText().GetTruncate() < 0 {
		return &fault{".text.truncate", "unknown Truncate; use one of the constants"}
	}
	if err := checkAudio(message.GetAudio()); err != nil {
		return err
	}
	source, field := sourceOf(message)
	if field != "" && source == nil {
		return &fault{field, "is missing; give a URL, Path, Data, Reader or Asset"}
	}
	audio := message.GetAudio()
	for _, text := range slices.Concat([]string{
		message.Key, message.GetText().GetValue(), source.GetUrl(), source.GetFile().GetFileName(),
		source.GetFile().GetMediaType(), source.GetUpload().GetFileName(), source.GetUpload().GetMediaType(),
		source.GetAsset().GetId(), source.GetTask().GetId(),
	}, audio.GetEmbeddingOptions(), audio.GetEmbeddingScopes(), audio.GetEmbeddingTypes()) {
		if !utf8.ValidString(text) {
			return &fault{"", "every string must be UTF-8"}
		}
	}
	return nil
}

// sourceOf returns the source of an image or an audio, and its path within the input; "" for a text.
func sourceOf(message *pb.Input) (source *pb.MediaSource, field string) {
	switch modality := message.Modality.(type) {
	case *pb.Input_Image:
		return modality.Image.Source, ".image.source"
	case *pb.Input_Audio:
		return modality.Audio.Source, ".audio.source"
	}
	return nil, ""
}
