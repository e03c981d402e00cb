package httpx

import (
	"net/http"
	"net/netip"
	"strings"
)

// maxForwarded bounds how many entries of X-Forwarded-For are looked at.
const maxForwarded = 16

// Proxies says which peers may speak for others. The zero value trusts none.
type Proxies struct {
	Trusted []netip.Prefix
	// ClientCertHeader carries the client certificate from a trusted proxy;
	// from anybody else it is removed. Empty: no such header.
	ClientCertHeader string
}

// admit returns the client's address and removes headers that the peer has no
// right to send. The header is changed in place: the request is ours alone
// here.
func (p Proxies) admit(r *http.Request) string {
	peer := peerAddress(r.RemoteAddr)
	trusted := p.trusts(peer)
	if p.ClientCertHeader != "" && !trusted {
		r.Header.Del(p.ClientCertHeader)
	}
	if trusted {
		peer = p.forwarded(peer, r.Header["X-Forwarded-For"])
	}
	if !peer.IsValid() {
		return ""
	}
	return peer.String()
}

// forwarded walks X-Forwarded-For from the right, where our own proxies
// write, and stops at the first address that is not one of them. What stands
// further left was written by the client and proves nothing.
func (p Proxies) forwarded(peer netip.Addr, headers []string) netip.Addr {
	looked := 0
	for i := len(headers) - 1; i >= 0; i-- {
		rest := headers[i]
		for rest != "" && looked < maxForwarded {
			looked++
			entry := rest
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, entry = rest[:comma], rest[comma+1:]
			} else {
				rest = ""
			}
			addr := peerAddress(strings.TrimSpace(entry))
			if !addr.IsValid() {
				return peer
			}
			peer = addr
			if !p.trusts(addr) {
				return addr
			}
		}
	}
	return peer
}

func (p Proxies) trusts(addr netip.Addr) bool {
	for _, prefix := range p.Trusted {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// peerAddress parses an address with or without a port; the zero Addr when it
// is neither, as for Unix sockets.
func peerAddress(text string) netip.Addr {
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return withPort.Addr().Unmap().WithZone("")
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}
