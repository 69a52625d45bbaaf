/** Which targets are on this machine. */

import { isIPv4 } from "node:net";

const TARGET = /^(?:(dns|ipv4|ipv6):(?:\/\/\/)?)?(.*)$/is;
const ADDRESS = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::\d+)?$/;

/**
 * Whether all that is sent to a target stays on this machine, so that credentials may be sent in plain text and no proxy
 * is used. A name other than localhost may lead anywhere, and so may one that is resolved by a name server of the
 * target's choice (dns://server/name); anything that is not certain counts as remote.
 */
export function isLoopback(target: string): boolean {
  if (/^unix(-abstract)?:/.test(target)) return true;
  const [, scheme, rest = ""] = TARGET.exec(target) ?? [];
  const addresses = scheme?.startsWith("ip") ? rest.split(",") : [rest];
  return addresses.every(isLoopbackAddress);
}

function isLoopbackAddress(address: string): boolean {
  const match = ADDRESS.exec(address);
  const host = match?.[1] ?? match?.[2] ?? address;
  return host.toLowerCase() === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127."));
}
