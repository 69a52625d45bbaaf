/** Vectors of either encoding of the contract as Float32Array. */

import { endianness } from "node:os";

import { type Vector, VectorEncoding } from "./generated/embedwire/v1/embedding_pb.js";

const VALUE_BYTES = Float32Array.BYTES_PER_ELEMENT;
const IS_BIG_ENDIAN = endianness() === "BE";

/**
 * Read a vector.
 *
 * @throws RangeError - it is in an encoding that this client does not know, or broken.
 */
export function decode(message: Vector): Float32Array {
  switch (message.encoding) {
    case VectorEncoding.FLOAT32_LE:
      return fromBytes(message.data);
    case VectorEncoding.UNSPECIFIED:
    case VectorEncoding.FLOAT_VALUES:
      return new Float32Array(message.values);
    default:
      throw new RangeError(`unknown encoding ${String(message.encoding)}`);
  }
}

/**
 * Copied, since a view is possible only where the bytes happen to lie at a multiple of four in their message, and
 * `vector.buffer`, which people store, would then be the whole message, once in a while.
 */
function fromBytes(data: Uint8Array): Float32Array {
  if (data.byteLength % VALUE_BYTES !== 0) throw new RangeError(`${data.byteLength.toString()} bytes are no float32`);
  const vector = new Float32Array(data.byteLength / VALUE_BYTES);
  const bytes = Buffer.from(vector.buffer);
  bytes.set(data);
  if (IS_BIG_ENDIAN) bytes.swap32();
  return vector;
}
