// Package embedwire calls an Embedwire server: text, images and audio in, embeddings out, streamed segment by
// segment.
//
//	client, err := embedwire.NewClient("127.0.0.1:50051")
//	...
//	embeddings, err := client.Embed(ctx, "marengo3.0", embedwire.Text{Value: "a red fox in the snow"})
//
// A [Client] makes the calls, [Text], [Image] and [Audio] are what it takes, and [Segment], [Result] and [Embedding]
// are what comes back. What a server answers as a failure is an [*Error], and an argument that cannot be used wraps
// [ErrArgument]; nothing was sent then. A file that cannot be read is the error of package os or of its reader.
package embedwire
