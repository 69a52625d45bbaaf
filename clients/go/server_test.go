package embedwire

import (
	"context"
	"io"
	"net"
	"testing"

	"google.golang.org/grpc"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

// An exchange is one call at the server of a test.
type exchange struct {
	context.Context
	method  string
	request *pb.CreateEmbeddingRequest
	send    func(...*pb.EmbeddingEvent) error
	chunk   func() (*pb.UploadChunk, error) // the next one; io.EOF after the last
}

// succeed sends a segment and a result for each input, after all of its upload.
func (e *exchange) succeed() error {
	for {
		if _, err := e.chunk(); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	for index := range e.request.Inputs {
		if err := e.send(aSegment(index), aResult(index, nil)); err != nil {
			return err
		}
	}
	return nil
}

func aSegment(index int) *pb.EmbeddingEvent {
	vector := &pb.Vector{Dimensions: 1, Form: &pb.Vector_Float32Le{Float32Le: []byte{0, 0, 128, 63}}}
	segment := &pb.Segment{InputIndex: int32(index), Vector: vector}
	return &pb.EmbeddingEvent{Event: &pb.EmbeddingEvent_Segment{Segment: segment}}
}

func aResult(index int, failure *pb.Failure) *pb.EmbeddingEvent {
	result := &pb.InputResult{InputIndex: int32(index), Failure: failure}
	return &pb.EmbeddingEvent{Event: &pb.EmbeddingEvent_Result{Result: result}}
}

// service is a server whose calls are all answered by one function.
type service struct {
	pb.UnimplementedEmbeddingServiceServer
	handle func(*exchange) error
}

func noChunks() (*pb.UploadChunk, error) { return nil, io.EOF }

func (s *service) CreateEmbedding(
	request *pb.CreateEmbeddingRequest, stream pb.EmbeddingService_CreateEmbeddingServer,
) error {
	send := func(events ...*pb.EmbeddingEvent) error {
		return stream.Send(&pb.CreateEmbeddingResponse{Events: events})
	}
	return s.handle(&exchange{stream.Context(), "CreateEmbedding", request, send, noChunks})
}

func (s *service) CreateEmbeddingUnary(
	ctx context.Context, request *pb.CreateEmbeddingUnaryRequest,
) (*pb.CreateEmbeddingUnaryResponse, error) {
	found := &pb.InputEmbedding{}
	send := func(events ...*pb.EmbeddingEvent) error {
		for _, event := range events {
			if segment := event.GetSegment(); segment != nil {
				found.Segments = append(found.Segments, segment)
			}
			found.Result = event.GetResult()
		}
		return nil
	}
	plain := &pb.CreateEmbeddingRequest{ModelName: request.ModelName, Inputs: request.Inputs}
	err := s.handle(&exchange{ctx, "CreateEmbeddingUnary", plain, send, noChunks})
	return &pb.CreateEmbeddingUnaryResponse{Embeddings: []*pb.InputEmbedding{found}}, err
}

func (s *service) CreateEmbeddingFromUpload(stream pb.EmbeddingService_CreateEmbeddingFromUploadServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	send := func(events ...*pb.EmbeddingEvent) error {
		return stream.Send(&pb.CreateEmbeddingFromUploadResponse{Events: events})
	}
	chunk := func() (*pb.UploadChunk, error) {
		message, err := stream.Recv()
		return message.GetChunk(), err
	}
	return s.handle(&exchange{stream.Context(), "CreateEmbeddingFromUpload", first.GetRequest(), send, chunk})
}

func (s *service) ListModels(ctx context.Context, _ *pb.ListModelsRequest) (*pb.ListModelsResponse, error) {
	ignore := func(...*pb.EmbeddingEvent) error { return nil }
	request := &pb.CreateEmbeddingRequest{}
	return &pb.ListModelsResponse{}, s.handle(&exchange{ctx, "ListModels", request, ignore, noChunks})
}

// serve starts a server of its own and makes a client of it.
func serve(t *testing.T, handle func(*exchange) error, options ...Option) *Client {
	t.Helper()
	return clientOf(t, listen(t, handle).String(), options...)
}

func listen(t *testing.T, handle func(*exchange) error) net.Addr {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, listener, handle)
	return listener.Addr()
}

func serveOn(t *testing.T, listener net.Listener, handle func(*exchange) error) {
	t.Helper()
	server := grpc.NewServer()
	pb.RegisterEmbeddingServiceServer(server, &service{handle: handle})
	go server.Serve(listener)
	t.Cleanup(server.Stop)
}

func clientOf(t *testing.T, target string, options ...Option) *Client {
	t.Helper()
	client, err := NewClient(target, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// untilGone answers nothing before the caller has ended the call.
func untilGone(call *exchange) error {
	<-call.Done()
	return call.Err()
}
