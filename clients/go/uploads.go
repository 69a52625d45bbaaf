package embedwire

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

const (
	defaultChunkBytes = 256 << 10
	// A message has at most 16 MiB; the rest is for its other fields.
	mostChunkBytes = 16<<20 - 1<<20
)

type upload struct {
	index      int
	file       *file
	isSized    bool // whether its size is known, as for a regular file and for bytes
	isBegun    bool // whether some of it may have been read; only the sender uses it, until it has stopped
	isAnswered atomic.Bool
}

// answered stops the upload of a file whose input has a result: the server would discard the rest.
func (p *plan) answered(index int) {
	for _, upload := range p.uploads {
		if upload.index == index {
			upload.isAnswered.Store(true)
		}
	}
}

// upload starts a call with uploads. Files are sent while responses are received.
func (c *Client) upload(ctx context.Context, planned *plan, cancel context.CancelCauseFunc) (receiver, error) {
	stream, err := c.stub.CreateEmbeddingFromUpload(ctx)
	if err != nil {
		return nil, err
	}
	planned.stopped = make(chan struct{})
	go func() {
		defer close(planned.stopped)
		var unreadable *fileError
		if err := planned.send(ctx, stream, c.settings.chunkBytes); errors.As(err, &unreadable) {
			cancel(unreadable) // Recv returns every other error too
		}
	}()
	return func() ([]*pb.EmbeddingEvent, error) {
		message, err := stream.Recv()
		return message.GetEvents(), err
	}, nil
}

// A fileError is the cancellation cause of a call that cannot read a file.
type fileError struct {
	error
	index int // of its input in the call
}

func (f *fileError) Unwrap() error { return f.error }

type uploadStream = pb.EmbeddingService_CreateEmbeddingFromUploadClient

func (p *plan) send(ctx context.Context, stream uploadStream, chunkBytes int) error {
	payload := &pb.CreateEmbeddingFromUploadRequest_Request{Request: p.request}
	if err := stream.Send(&pb.CreateEmbeddingFromUploadRequest{Payload: payload}); err != nil {
		return err
	}
	for _, upload := range p.uploads {
		if err := upload.send(ctx, stream, chunkBytes); err != nil {
			return err
		}
	}
	return stream.CloseSend()
}

func (u *upload) send(ctx context.Context, stream uploadStream, chunkBytes int) error {
	u.isBegun = true
	reader, err := u.file.open()
	if err != nil {
		return &fileError{err, u.index}
	}
	defer reader.Close()
	defer context.AfterFunc(ctx, func() { reader.Close() })() // ends a read that waits for a pipe
	for !u.isAnswered.Load() {
		data := make([]byte, chunkBytes) // a new one each time: grpc may still hold the last
		count, err := fill(reader, data)
		if err != nil && err != io.EOF {
			return &fileError{err, u.index}
		}
		isLast := err == io.EOF
		if err := u.sendChunk(stream, data[:count], isLast); err != nil || isLast {
			return err
		}
	}
	return u.sendChunk(stream, nil, true)
}

func (u *upload) sendChunk(stream uploadStream, data []byte, isLast bool) error {
	chunk := &pb.UploadChunk{InputIndex: int32(u.index), Data: data, Last: isLast}
	payload := &pb.CreateEmbeddingFromUploadRequest_Chunk{Chunk: chunk}
	return stream.Send(&pb.CreateEmbeddingFromUploadRequest{Payload: payload})
}
