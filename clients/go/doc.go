// Package embedwire calls an Embedwire server: text, images and audio in, embeddings out, streamed segment by
// segment.
//
//	client, err := embedwire.NewClient("127.0.0.1:50051")
//	...
//	embeddings, err := client.Embed(ctx, "marengo3.0", embedwire.Text{Value: "a red fox in the snow"})
//
// A [Client] makes the calls: [Client.Embed] and [Client.Stream] of up to 256 inputs, [Client.Map] of any number. [Text],
// [Image] and [Audio] are what they take, and [Segment], [Result] and [Embedding] are what comes back.
//
// What the server answers as a failure is an [*Error]; errors.Is compares it with a [Kind] such as [ErrRefused]. An
// argument that cannot be used wraps [ErrArgument]; nothing was sent then. A file that cannot be read wraps the error of
// package os or of its reader. A client that is closed has [ErrClosed].
package embedwire
