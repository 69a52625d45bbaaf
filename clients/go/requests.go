package embedwire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"
	"unicode/utf8"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

const (
	// Above this, files are uploaded in chunks; the contract recommends it.
	inlineBytes = 1 << 20
	// What one message may hold, less room for everything else in it.
	messageBytes      = 16<<20 - 1<<20
	defaultChunkBytes = 256 << 10
)

// ErrArgument is wrapped by every error of an argument that cannot be used. Nothing was sent then.
var ErrArgument = errors.New("embedwire: invalid argument")

func refusal(format string, values ...any) error {
	return fmt.Errorf("%w: %s", ErrArgument, fmt.Sprintf(format, values...))
}

// A CallOption is a choice for some calls of a [Client]; see [Client.With].
type CallOption func(*call)

type call struct {
	maxRetries *uint32
	requestID  string
	encoding   pb.VectorEncoding
	chunkBytes int
	err        error
}

// MaxRetries is the most upstream attempts that may follow a failed first one, for each input; 0 forbids retries.
// Without it the server decides. An attempt may be billed.
func MaxRetries(count int) CallOption {
	return func(c *call) {
		most := uint32(count)
		if c.maxRetries = &most; count < 0 || int64(count) > math.MaxUint32 {
			c.err = refusal("max retries: must be 0 or more, got %d", count)
		}
	}
}

// RequestID is an id for the server's log and metadata: 1 to 64 letters, digits and -_.: only. Without it each call
// has a new one.
func RequestID(id string) CallOption {
	return func(c *call) {
		if c.requestID = id; !requestIDs.MatchString(id) {
			c.err = refusal("request id: must have 1 to 64 letters, digits and -_.: only")
		}
	}
}

// VectorEncoding chooses how vectors travel; what comes back is the same. By default that is
// VECTOR_ENCODING_FLOAT32_LE, the cheapest.
func VectorEncoding(encoding pb.VectorEncoding) CallOption {
	return func(c *call) { c.encoding = encoding }
}

// ChunkBytes is the size of the chunks in which files are uploaded, 256 KiB by default.
func ChunkBytes(count int) CallOption {
	return func(c *call) {
		if c.chunkBytes = count; count < 1 || count > messageBytes {
			c.err = refusal("chunk bytes: must be 1 to %d, got %d", messageBytes, count)
		}
	}
}

// A plan is a request and the files that follow it in chunks.
type plan struct {
	request *pb.CreateEmbeddingRequest
	uploads []*upload
}

type upload struct {
	index      int
	file       *file
	isAnswered atomic.Bool
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

// answered makes the rest of a file not be sent: its input has a result, so it would be discarded.
func (p *plan) answered(index int) {
	for _, upload := range p.uploads {
		if upload.index == index {
			upload.isAnswered.Store(true)
		}
	}
}

// response is a message of either streaming call.
type response interface {
	GetSegment() *pb.Segment
	GetResult() *pb.InputResult
}

// open starts the call, and its upload if there is one, and returns what receives the answers.
func (c *Client) open(ctx context.Context, planned *plan, cancel context.CancelCauseFunc) (func() (response, error), error) {
	if len(planned.uploads) == 0 {
		stream, err := c.stub.CreateEmbedding(ctx, planned.request)
		return func() (response, error) { return stream.Recv() }, err
	}
	stream, err := c.stub.CreateEmbeddingFromUpload(ctx)
	if err != nil {
		return nil, err
	}
	go func() {
		var unreadable *fileError
		if err := planned.send(stream, c.call.chunkBytes); errors.As(err, &unreadable) {
			cancel(unreadable) // every other error comes out of Recv too
		}
	}()
	return func() (response, error) { return stream.Recv() }, nil
}

// fileError is the cause by which a call ends whose file cannot be read.
type fileError struct{ error }

type uploadStream = pb.EmbeddingService_CreateEmbeddingFromUploadClient

func (p *plan) send(stream uploadStream, chunkBytes int) error {
	if chunkBytes == 0 {
		chunkBytes = defaultChunkBytes
	}
	payload := &pb.CreateEmbeddingFromUploadRequest_Request{Request: p.request}
	if err := stream.Send(&pb.CreateEmbeddingFromUploadRequest{Payload: payload}); err != nil {
		return err
	}
	for _, upload := range p.uploads {
		if err := upload.send(stream, chunkBytes); err != nil {
			return err
		}
	}
	return stream.CloseSend()
}

func (u *upload) send(stream uploadStream, chunkBytes int) error {
	reader, err := u.file.open()
	if err != nil {
		return &fileError{err}
	}
	defer reader.Close()
	for !u.isAnswered.Load() {
		data := make([]byte, chunkBytes) // a new one each time: grpc may still hold the last
		count, err := fill(reader, data)
		if err != nil && err != io.EOF {
			return &fileError{err}
		}
		isLast := err == io.EOF
		if err := u.sendChunk(stream, data[:count], isLast); err != nil || isLast {
			return err
		}
	}
	return u.sendChunk(stream, nil, true)
}

func (u *upload) sendChunk(stream uploadStream, data []byte, isLast bool) error {
	chunk := &pb.UploadChunk{InputIndex: uint32(u.index), Data: data, Last: isLast}
	payload := &pb.CreateEmbeddingFromUploadRequest_Chunk{Chunk: chunk}
	return stream.Send(&pb.CreateEmbeddingFromUploadRequest{Payload: payload})
}
