package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

// kind says what an address is to a platform that posts to URLs which tenants choose.
type kind uint8

const (
	public  kind = iota // anybody's
	private             // this machine or this site: only when the webhook and the platform say so
	never               // nobody's, everybody's, or a cloud's metadata service
)

// The special addresses of RFC 6890 and its registries. What is not in 2000::/3 is not routed at all.
var (
	neverPrefixes = prefixes(
		"0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"100.100.100.200/32", "168.63.129.16/32", "fd00:ec2::254/128", // metadata services outside of the link-local range
		"::/128", "100::/64", "2001:db8::/32", "2001::/23", "3fff::/20", "5f00::/16", "fe80::/10", "fec0::/10", "ff00::/8",
		"64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "::/96", // IPv4 in disguise: NAT64, 6to4, compatible
	)
	privatePrefixes = prefixes("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15", "::1/128", "fc00::/7")
	routed          = netip.MustParsePrefix("2000::/3")
)

func prefixes(of ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(of))
	for i, s := range of {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

func kindOf(a netip.Addr) kind {
	a = a.WithZone("").Unmap()
	in := func(ps []netip.Prefix) bool {
		return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	switch {
	case a == netip.IPv6Loopback():
		return private
	case !a.IsValid() || in(neverPrefixes):
		return never
	case in(privatePrefixes):
		return private
	case a.Is6() && !routed.Contains(a):
		return never
	}
	return public
}

// errForbidden marks a connection that was refused here.
var errForbidden = errors.New("this address is not dialled")

// reach is where one webhook may post to.
type reach struct {
	private bool // also this site's addresses
	clear   bool // http: this site's addresses alone, so that nothing crosses the world in the clear
}

// allows judges an address that is about to be dialled: what a name resolved to, at this moment.
func (r reach) allows(address string) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return errs.New(errs.Denied, "%w: %s", errForbidden, address)
	}
	switch k := kindOf(ap.Addr()); {
	case k == never, k == private && !r.private:
		return errs.New(errs.Denied, "%w: %s is not a public one", errForbidden, ap.Addr())
	case k == public && r.clear:
		return errs.New(errs.Denied, "%w: %s is a public one and the URL is http", errForbidden, ap.Addr())
	}
	return nil
}

// newClient makes a client that dials what r allows: the check is of the address that the socket connects to, after all
// resolution, so a name that answers differently the second time gains nothing. There is no proxy, which would dial for us,
// no redirect, and no connection that is kept, which would outlive a change of the rules.
func newClient(r reach, roots *x509.CertPool, resolver *net.Resolver) *http.Client {
	d := &net.Dialer{Timeout: dialTimeout, KeepAlive: -1, Resolver: resolver, Control: func(network, address string, _ syscall.RawConn) error {
		if network != "tcp4" && network != "tcp6" {
			return errs.New(errs.Denied, "%w: %s", errForbidden, network)
		}
		return r.allows(address)
	}}
	return &http.Client{
		Timeout:       attemptTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: nil,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return d.DialContext(ctx, network, address)
			},
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			TLSHandshakeTimeout:    dialTimeout,
			ResponseHeaderTimeout:  attemptTimeout,
			MaxResponseHeaderBytes: maxHeader,
			DisableCompression:     true, // a small answer that unpacks to a large one
			DisableKeepAlives:      true,
		},
	}
}

// Times of an attempt.
const (
	dialTimeout    = 5 * time.Second
	attemptTimeout = 10 * time.Second // all of it, the answer's body too
)
