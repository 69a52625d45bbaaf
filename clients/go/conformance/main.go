// Command conformance runs the calls of the conformance suite: it reads jobs as JSON Lines from standard input and
// writes their outcomes as JSON Lines to standard output. The suite is tests/conformance of the repository.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/embedwire/embedwire/clients/go"
)

func main() {
	jobs, outcomes := json.NewDecoder(bufio.NewReader(os.Stdin)), json.NewEncoder(os.Stdout)
	for jobs.More() {
		var next job
		err := jobs.Decode(&next)
		if err == nil {
			err = outcomes.Encode(next.run(context.Background()))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func (j *job) run(ctx context.Context) *outcome {
	found := &outcome{Name: j.Name, Events: []any{}, Progress: []any{}}
	client, err := j.client(found)
	if err != nil {
		found.Error = errorOf(err)
		return found
	}
	defer client.Close()
	inputs, closeAll, err := j.inputs()
	defer closeAll()
	if err == nil {
		err = j.call(ctx, client, inputs, found)
	}
	found.Error = errorOf(err)
	return found
}

func (j *job) call(ctx context.Context, client *embedwire.Client, inputs []embedwire.Input, found *outcome) error {
	switch j.Call {
	case "stream":
		return j.stream(ctx, client, inputs, found)
	case "models":
		models, err := client.Models(ctx)
		if err == nil {
			found.Models = modelsOf(models)
		}
		return err
	}
	if j.Call == "map" {
		return j.each(ctx, client, inputs, found)
	}
	embeddings, err := client.Embed(ctx, j.Model, inputs...)
	for _, embedding := range embeddings {
		found.addAll(embedding)
	}
	return err
}

func (j *job) each(ctx context.Context, client *embedwire.Client, inputs []embedwire.Input, found *outcome) error {
	for embedding, err := range client.Map(ctx, j.Model, slices.Values(inputs), j.Map.options()...) {
		if err != nil {
			return err
		}
		found.addAll(embedding)
	}
	return nil
}

func (j *job) stream(ctx context.Context, client *embedwire.Client, inputs []embedwire.Input, found *outcome) error {
	if found.Cancelled = j.CancelAfter != nil && *j.CancelAfter == 0; found.Cancelled {
		return nil
	}
	for event, err := range client.Stream(ctx, j.Model, inputs...) {
		if err != nil {
			return err
		}
		found.add(event)
		if j.CancelAfter != nil && len(found.Events) >= *j.CancelAfter {
			found.Cancelled = true
			break
		}
	}
	return nil
}
