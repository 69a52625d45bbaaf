package embedwire

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

const defaultChunkBytes = 256 << 10

type upload struct {
	index      int
	file       *file
	isAnswered atomic.Bool
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
func (c *Client) open(
	ctx context.Context, planned *plan, cancel context.CancelCauseFunc,
) (func() (response, error), error) {
	if len(planned.uploads) == 0 {
		return c.ask(ctx, planned.request)
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
