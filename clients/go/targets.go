package embedwire

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

func checkTarget(target string) error {
	if target == "" || strings.ContainsAny(target, " \t\r\n") {
		return refusal("target: must be HOST:PORT, or another gRPC target, without spaces")
	}
	if strings.HasPrefix(target, "http://") || strings.HasPrefix(target, "https://") {
		return refusal("target: must be HOST:PORT without http://; use WithTLS for TLS")
	}
	if port, err := strconv.Atoi(target[strings.LastIndex(target, ":")+1:]); err == nil && port > 65535 {
		return refusal("target: port must be at most 65535, got %d", port)
	}
	return nil
}

// isLocal reports whether a target is a loopback address or a Unix socket. Credentials may then be sent in plaintext,
// and no proxy is used. Uncertain targets count as remote, as do names other than localhost. The test cases are in
// clients/loopback.json of the repository.
func isLocal(target string) bool {
	addresses := []string{target}
	if parsed, err := url.Parse(target); err == nil { // as grpc reads it
		endpoint := strings.TrimPrefix(parsed.Path, "/") + parsed.Opaque
		switch parsed.Scheme {
		case "unix", "unix-abstract":
			return true
		case "dns":
			addresses = []string{endpoint}
			if parsed.Host != "" { // a DNS server of the caller's choice may resolve the name to any address
				return false
			}
		case "ipv4", "ipv6":
			addresses = strings.Split(endpoint, ",")
		}
	}
	for _, address := range addresses {
		if !isLoopback(address) {
			return false
		}
	}
	return true
}

// isLoopback reports whether HOST or HOST:PORT is a loopback address.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.Trim(address, "[]") // without a port
	}
	ip, err := netip.ParseAddr(host)
	isAddress := err == nil && ip.IsLoopback() && !ip.Is4In6() && ip.Zone() == ""
	return isAddress || strings.EqualFold(host, "localhost")
}
