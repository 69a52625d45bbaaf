/** Loopback targets. */

import { isIPv4 } from "node:net";

const TARGET = /^(?:(dns|ipv4|ipv6):(?:\/\/\/)?)?(.*)$/is;
const ADDRESS = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::\d+)?$/;

/**
 * Return whether a target is a loopback address or a Unix socket, so that credentials may be sent in plaintext and no
 * proxy is used. Uncertain targets count as remote: names other than localhost, and names with a DNS server
 * (dns://server/name).
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
