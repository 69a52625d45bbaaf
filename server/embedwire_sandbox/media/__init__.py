"""Media: decoding and features of text, images and audio, and fetching by URL."""
