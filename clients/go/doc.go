// Package embedwire is the client of an Embedwire server. It embeds text, images and audio, and streams the vectors as
// the server decodes them.
//
//	client, err := embedwire.NewClient("127.0.0.1:50051")
//	...
//	embeddings, err := client.Embed(ctx, "marengo3.0", embedwire.Text{Value: "a red fox in the snow"})
//
// A [Client] makes the calls: [Client.Embed] and [Client.Stream] accept up to 256 inputs, [Client.Map] any number.
// Inputs are [Text], [Image] and [Audio]. Outputs are [Segment], [Result], [Progress] and [Embedding].
//
// A failed call or input is an [*Error]; errors.Is compares it with a [Kind] such as [ErrRefused]. The error of an
// invalid argument wraps [ErrArgument], and nothing is sent. The error of an unreadable file wraps that of package os
// or of its reader. A call of a closed client fails with [ErrClosed].
package embedwire
