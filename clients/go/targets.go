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
		return refusal("target: must be HOST:PORT, or another gRPC name, without spaces")
	}
	if strings.HasPrefix(target, "http://") || strings.HasPrefix(target, "https://") {
		return refusal("target: must be HOST:PORT without http://; TLS is chosen by WithTLS")
	}
	if port, err := strconv.Atoi(target[strings.LastIndex(target, ":")+1:]); err == nil && port > 65535 {
		return refusal("target: there is no port %d", port)
	}
	return nil
}

// isLocal tells whether what is sent there stays on this machine, so that credentials may go there in plain text and no
// proxy is used. What is not certain counts as remote; names other than localhost do not count. The cases are those of
// clients/loopback.json in the repository.
func isLocal(target string) bool {
	addresses := []string{target}
	if parsed, err := url.Parse(target); err == nil { // as grpc reads it
		endpoint := strings.TrimPrefix(parsed.Path, "/") + parsed.Opaque
		switch parsed.Scheme {
		case "unix", "unix-abstract":
			return true
		case "dns":
			addresses = []string{endpoint}
			if parsed.Host != "" { // a name server of the caller's choice, which decides what a name means
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

// isLoopback reads HOST or HOST:PORT.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.Trim(address, "[]") // without a port
	}
	ip, err := netip.ParseAddr(host)
	isAddress := err == nil && ip.IsLoopback() && !ip.Is4In6() && ip.Zone() == ""
	return isAddress || strings.EqualFold(host, "localhost")
}
