package embedwire_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/embedwire/embedwire/clients/go"
)

func ExampleClient_Embed() {
	client, err := embedwire.NewClient("127.0.0.1:50051")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	embeddings, err := client.Embed(context.Background(), "marengo3.0",
		embedwire.Text{Value: "a red fox"}, embedwire.Audio{Source: embedwire.Path("melody.flac"), StartOffsetSec: 2})
	if err != nil {
		log.Fatal(err)
	}
	for _, segment := range embeddings[1].Segments {
		fmt.Println(segment.StartOffsetSec, segment.EmbeddingOption, len(segment.Vector))
	}
}

func ExampleNewClient() {
	client, err := embedwire.NewClient("embed.internal:443",
		embedwire.WithTLS(&tls.Config{}), embedwire.WithToken(os.Getenv("EMBEDWIRE_TOKEN")))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
}

func ExampleError() {
	client, err := embedwire.NewClient("127.0.0.1:50051")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err = client.Embed(ctx, "marengo3.0", embedwire.Image{Source: embedwire.Data([]byte("not a picture"))})

	var failed *embedwire.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Println("too late")
	case errors.As(err, &failed) && failed.RetryDelay != nil:
		fmt.Println("try again in", *failed.RetryDelay)
	case err != nil:
		fmt.Println(err)
	}
}
