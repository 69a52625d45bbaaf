package embedwire_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/embedwire/embedwire/clients/go"
)

func ExampleClient_Embed() {
	client, err := embedwire.NewClient("127.0.0.1:50051")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	embeddings, err := client.Embed(context.Background(), "marengo3.0",
		embedwire.Text{Value: "a red fox in the snow"},
		embedwire.Audio{Source: embedwire.Path("melody.flac"), StartOffsetSec: 10})
	if err != nil {
		log.Fatal(err)
	}
	for _, embedding := range embeddings {
		for _, segment := range embedding.Segments {
			fmt.Println(segment.Modality, segment.StartOffsetSec, segment.EmbeddingOption, len(segment.Vector))
		}
	}
}

func ExampleAudio() {
	client, err := embedwire.NewClient("127.0.0.1:50051")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	embeddings, err := client.Embed(context.Background(), "marengo3.0", embedwire.Audio{
		Source:           embedwire.Path("melody.flac"),
		StartOffsetSec:   2,
		EndOffsetSec:     14,
		Segmentation:     embedwire.FixedSegmentation(4),
		EmbeddingOptions: []string{"audio", "transcription"},
		EmbeddingScopes:  []string{"clip", "asset"},
		ProcessingMode:   embedwire.ProcessingModeSync,
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, segment := range embeddings[0].Segments {
		fmt.Println(segment.EmbeddingScope, segment.EmbeddingOption, segment.StartOffsetSec)
	}
}

func ExampleTask() {
	client, err := embedwire.NewClient("127.0.0.1:50051")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	show := func(progress *embedwire.Progress) { fmt.Println(progress.Stage) }
	client = client.With(embedwire.WithProgress(show))
	ctx := context.Background()
	melody := embedwire.Audio{Source: embedwire.Path("melody.flac"), ProcessingMode: embedwire.ProcessingModeTask}
	embeddings, err := client.Embed(ctx, "marengo3.0", melody)
	var failed *embedwire.Error
	if errors.As(err, &failed) && failed.UpstreamTaskID != "" {
		earlier := embedwire.Audio{Source: embedwire.Task(failed.UpstreamTaskID)}
		embeddings, err = client.Embed(ctx, "marengo3.0", earlier)
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(embeddings[0].Segments), "segments, task:", embeddings[0].Result.UpstreamTaskID != "")
}

func ExampleClient_Stream() {
	client, err := embedwire.NewClient("127.0.0.1:50051")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	melody := embedwire.Audio{Source: embedwire.Path("melody.flac"), StartOffsetSec: 10}
	for event, err := range client.Stream(context.Background(), "marengo3.0", melody) {
		if err != nil {
			log.Fatal(err)
		}
		switch event := event.(type) {
		case *embedwire.Segment:
			fmt.Println("segment", event.SegmentIndex, event.StartOffsetSec, event.Vector[:2])
		case *embedwire.Progress:
			fmt.Println("stage  ", event.Stage)
		case *embedwire.Result:
			fmt.Println("done   ", event.SegmentCount, "segments from", event.Upstream)
		}
	}
}

func ExampleClient_Map() {
	client, err := embedwire.NewClient("127.0.0.1:50051")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	documents := func(yield func(embedwire.Input) bool) {
		for number := range 100 {
			if !yield(embedwire.Text{Key: fmt.Sprint(number), Value: fmt.Sprint("document ", number)}) {
				return
			}
		}
	}
	vectors := map[string][]float32{}
	for embedding, err := range client.Map(context.Background(), "marengo3.0", documents) {
		if err != nil {
			log.Fatal(err)
		}
		vector, err := embedding.Vector()
		if err != nil {
			log.Println(embedding.Result.InputKey, err)
			continue
		}
		vectors[embedding.Result.InputKey] = vector
	}
	fmt.Println(len(vectors), "documents")
}

func ExampleError() {
	client, err := embedwire.NewClient("127.0.0.1:50051")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	picture := embedwire.Image{Source: embedwire.Data([]byte("not a picture"))}
	_, err = client.Embed(context.Background(), "marengo3.0", picture)
	var failed *embedwire.Error
	if errors.As(err, &failed) {
		fmt.Println(failed.Kind, failed.Code, failed.Reason, failed.Upstream.HTTPStatus, failed.Upstream.Code)
	}

	ctx, cancel := context.WithTimeout(context.Background(), time.Microsecond)
	defer cancel()
	_, err = client.Embed(ctx, "marengo3.0", embedwire.Text{Value: "too late"})
	fmt.Println(errors.Is(err, embedwire.ErrDeadlineExceeded), errors.Is(err, embedwire.ErrRequest))
}

func ExampleWithDialOptions() {
	addTeam := func(
		ctx context.Context, method string, request, reply any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker,
		options ...grpc.CallOption,
	) error {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-team", "search")
		return invoke(ctx, method, request, reply, connection, options...)
	}
	client, err := embedwire.NewClient("127.0.0.1:50051",
		embedwire.WithDialOptions(grpc.WithUnaryInterceptor(addTeam)))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	models, err := client.Models(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(models[0].Name, models[0].Dimensions)
}

func ExampleNewClient() {
	client, err := embedwire.NewClient("embed.internal:443",
		embedwire.WithTLS(&tls.Config{}), embedwire.WithToken(os.Getenv("EMBEDWIRE_TOKEN")))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
}
