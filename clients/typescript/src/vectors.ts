/** Vectors of all forms of the contract as Float32Array. */

import { endianness } from "node:os";

import type { Vector } from "./generated/embedwire/v1/embedding_pb.js";

const VALUE_BYTES = Float32Array.BYTES_PER_ELEMENT;
const IS_BIG_ENDIAN = endianness() === "BE";

/**
 * Read a vector.
 *
 * @throws RangeError - it has a form that this client does not know, or bytes that are not float32 values.
 */
export function decode({ form }: Vector): Float32Array {
  switch (form.case) {
    case "floatValues":
      return new Float32Array(form.value.values);
    case "float32Le":
      return fromBytes(form.value);
    default:
      throw new RangeError("unknown form");
  }
}

/**
 * Copied, since a view is possible only if the bytes start at a multiple of four in their message, and `vector.buffer`,
 * which callers store, would then be the whole message in some cases.
 */
function fromBytes(data: Uint8Array): Float32Array {
  if (data.byteLength % VALUE_BYTES !== 0) throw new RangeError(`${String(data.byteLength)} bytes are not float32`);
  const vector = new Float32Array(data.byteLength / VALUE_BYTES);
  const bytes = Buffer.from(vector.buffer);
  bytes.set(data);
  if (IS_BIG_ENDIAN) bytes.swap32();
  return vector;
}
