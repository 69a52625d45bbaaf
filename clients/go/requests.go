package embedwire

import (
	"unicode/utf8"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

const (
	// Above this, files are uploaded in chunks; the contract recommends it.
	inlineBytes = 1 << 20
	// What one message may hold, less room for everything else in it.
	messageBytes = 16<<20 - 1<<20
)

// A plan is a request and the files that follow it in chunks.
type plan struct {
	request *pb.CreateEmbeddingRequest
	uploads []*upload
}

// plan decides for each file whether it travels in the request, which has room for so many bytes of them.
func (c *call) plan(model string, inputs []Input, room int64) (*plan, error) {
	if c.err != nil {
		return nil, c.err
	}
	planned := &plan{request: &pb.CreateEmbeddingRequest{
		ModelName: model, VectorEncoding: pb.VectorEncoding_VECTOR_ENCODING_FLOAT32_LE, MaxRetries: c.maxRetries,
	}}
	if c.encoding != pb.VectorEncoding_VECTOR_ENCODING_UNSPECIFIED {
		planned.request.VectorEncoding = c.encoding
	}
	if !utf8.ValidString(model) {
		return nil, refusal("model: must be UTF-8")
	}
	for index, input := range inputs {
		message, used, err := planned.add(index, input, room)
		if err != nil {
			return nil, err
		}
		if err := check(index, message); err != nil {
			return nil, err
		}
		planned.request.Inputs = append(planned.request.Inputs, message)
		room -= used
	}
	return planned, nil
}

// add makes the message of an input, and tells how many bytes of its file are in it.
func (p *plan) add(index int, input Input, room int64) (_ *pb.Input, used int64, _ error) {
	if input == nil {
		return nil, 0, refusal("inputs[%d]: must be a Text, an Image or an Audio, got nil", index)
	}
	file := input.file()
	switch {
	case file == nil:
		return input.message(nil), 0, nil
	case file.source.kind == noSource || file.source.kind == readerSource && file.source.reader == nil:
		return nil, 0, refusal("inputs[%d]: has no source; give a URL, Path, Data or Reader", index)
	case file.source.kind == urlSource:
		return input.message(&pb.MediaSource{Source: &pb.MediaSource_Url{Url: file.source.text}}), 0, nil
	}
	size, err := file.size()
	if err != nil {
		return nil, 0, err
	}
	if size < 0 || size > room {
		p.uploads = append(p.uploads, &upload{index: index, file: file})
		announced := &pb.UploadSource{FileName: file.name, MediaType: file.mediaType}
		if size >= 0 {
			announced.SizeBytes = &size
		}
		return input.message(&pb.MediaSource{Source: &pb.MediaSource_Upload{Upload: announced}}), 0, nil
	}
	data, err := file.whole(size)
	source := &pb.FileSource{Data: data, FileName: file.name, MediaType: file.mediaType}
	return input.message(&pb.MediaSource{Source: &pb.MediaSource_File{File: source}}), size, err
}

// check finds what protobuf could not write.
func check(index int, message *pb.Input) error {
	if message.GetText().GetTruncate() < 0 {
		return refusal("inputs[%d]: there is no such Truncate", index)
	}
	source := message.GetImage().GetSource()
	if audio := message.GetAudio(); audio != nil {
		source = audio.GetSource()
	}
	for _, text := range []string{
		message.Key, message.GetText().GetValue(), source.GetUrl(), source.GetFile().GetFileName(),
		source.GetFile().GetMediaType(), source.GetUpload().GetFileName(), source.GetUpload().GetMediaType(),
	} {
		if !utf8.ValidString(text) {
			return refusal("inputs[%d]: every string must be UTF-8", index)
		}
	}
	return nil
}
