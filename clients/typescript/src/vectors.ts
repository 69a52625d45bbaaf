/** Decode vectors. */

import { endianness } from "node:os";

import type { Vector } from "./generated/embedwire/v1/embedding_pb.js";

const VALUE_BYTES = Float32Array.BYTES_PER_ELEMENT;
const IS_BIG_ENDIAN = endianness() === "BE";

/**
 * Decode a vector of any encoding of the contract.
 *
 * @throws RangeError - the encoding is unknown, or the number of bytes is not a multiple of 4.
 */
export function decode({ form }: Vector): Float32Array {
  switch (form.case) {
    case "floatValues":
      return new Float32Array(form.value.values);
    case "float32Le":
      return fromBytes(form.value);
    default:
      throw new RangeError("unknown encoding");
  }
}

/**
 * Copy the bytes to a vector. A view would need an alignment of four bytes, and its `buffer`, which callers store,
 * could be the whole message.
 */
function fromBytes(data: Uint8Array): Float32Array {
  if (data.byteLength % VALUE_BYTES !== 0) throw new RangeError(`${String(data.byteLength)} bytes are not float32`);
  const vector = new Float32Array(data.byteLength / VALUE_BYTES);
  const bytes = Buffer.from(vector.buffer);
  bytes.set(data);
  if (IS_BIG_ENDIAN) bytes.swap32();
  return vector;
}
