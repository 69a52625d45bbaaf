/**
 * Finds which of three texts is the nearest to a picture. The target is that of `make run`, or the first argument.
 *
 * The vectors of the embedded sandbox are made up, and so is what it finds.
 */

import { Client, type Embedding } from "@embedwire/client";

const TEXTS = ["a red fox in the snow", "a bowl of soup", "three sailing boats"];
const PICTURE = new URL("../../../python/examples/samples/picture.png", import.meta.url);

function similarity(one: Float32Array, other: Float32Array): number {
  const dot = (left: Float32Array, right: Float32Array) => left.reduce((sum, v, at) => sum + v * (right[at] ?? 0), 0);
  return dot(one, other) / Math.sqrt(dot(one, one) * dot(other, other));
}

const client = new Client(process.argv[2]);
try {
  const inputs = [{ image: { path: PICTURE } }, ...TEXTS.map((text) => ({ text }))];
  const [picture, ...texts] = (await client.embed("marengo3.0", inputs)).map(({ vector }: Embedding) => vector);
  if (picture === undefined) throw new Error("no picture");
  TEXTS.forEach((text, index) => {
    const found = texts[index] ?? picture;
    console.log(similarity(picture, found).toFixed(3), text);
  });
} finally {
  client.close();
}
