// The program embed embeds a text and the audio file that it is given, if any, by the server on 127.0.0.1:50051, or at
// EMBEDWIRE_TARGET.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"

	"github.com/embedwire/embedwire/clients/go"
)

func main() {
	client, err := embedwire.NewClient(cmp.Or(os.Getenv("EMBEDWIRE_TARGET"), "127.0.0.1:50051"))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	inputs := []embedwire.Input{embedwire.Text{Value: "a red fox in the snow"}}
	for _, path := range os.Args[1:] {
		inputs = append(inputs, embedwire.Audio{Source: embedwire.Path(path), StartOffsetSec: 10})
	}
	for event, err := range client.Stream(context.Background(), "marengo3.0", inputs...) {
		if err != nil {
			log.Fatal(err)
		}
		switch event := event.(type) {
		case *embedwire.Segment:
			fmt.Println("segment", event.InputIndex, event.SegmentIndex, event.StartOffsetSec, event.Vector[:2])
		case *embedwire.Result:
			fmt.Println("done   ", event.InputIndex, event.SegmentCount, "segments", event.Err)
		}
	}
}
