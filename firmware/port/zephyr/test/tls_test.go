package test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// echo sends n bytes each way and compares.
func echo(t *testing.T, b *board, c *tls.Conn, n, record int) {
	t.Helper()
	up := make([]byte, n)
	for i := range up {
		up[i] = byte(i*7 + n)
	}
	b.want("ok", "send %x", up)
	got := make([]byte, n)
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, up) {
		t.Fatalf("%d bytes up: %v", n, err)
	}
	for rest := up; len(rest) > 0; {
		k := min(len(rest), record)
		if _, err := c.Write(rest[:k]); err != nil {
			t.Fatal(err)
		}
		rest = rest[k:]
	}
	if down := b.bytes("recv %d", n); !bytes.Equal(down, up) {
		t.Fatalf("%d bytes down in records of %d differ", n, record)
	}
}

// A whole life: first contact, request, enrollment, operational, after a reboot too.
func TestLife(t *testing.T) {
	ca := newAuthority(t, "platform")
	g := newGateway(t, ca.server(nil), nil)
	o := options{folder: t.TempDir(), anchors: []*x509.Certificate{ca.cert}}
	b := boot(t, g, o)
	b.want("ok 1", "fresh")
	b.want("ok 0", "enrolled")
	b.want("ok 0", "renew")
	if got := b.do("open operational"); !strings.HasPrefix(got, "error -3 ") {
		t.Fatal(got)
	}
	c := b.connect(g, "first")
	state := c.ConnectionState()
	self := state.PeerCertificates[0]
	if state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "wasmbed/1" || state.CipherSuite != tls.TLS_AES_128_GCM_SHA256 ||
		state.ServerName != "gateway.example" || len(state.PeerCertificates) != 1 {
		t.Fatalf("%+v", state)
	}
	if err := self.CheckSignature(self.SignatureAlgorithm, self.RawTBSCertificate, self.Signature); err != nil {
		t.Fatal(err)
	}
	if self.Subject.CommonName != "dev-1" || self.Version != 3 || len(self.Raw) > 2048 {
		t.Fatalf("%+v", self)
	}
	csr, err := x509.ParseCertificateRequest(b.bytes("csr"))
	if err != nil {
		t.Fatal(err)
	}
	if err := csr.CheckSignature(); err != nil || csr.Subject.CommonName != "dev-1" || csr.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		t.Fatal(err, csr.Subject)
	}
	key := csr.PublicKey.(*ecdsa.PublicKey)
	if !key.Equal(self.PublicKey) {
		t.Fatal("the request is for another key than the session's")
	}
	spki := sha256.Sum256(csr.RawSubjectPublicKeyInfo)
	if !bytes.Equal(b.bytes("key"), spki[:]) {
		t.Fatal("the key's digest")
	}
	digest := sha256.Sum256([]byte("evidence"))
	if !ecdsa.VerifyASN1(key, digest[:], b.bytes("sign %x", "evidence")) {
		t.Fatal("the signature")
	}
	echo(t, b, c, 100, 100)
	leaf := b.enroll(ca, nil)
	b.want("ok 1", "enrolled")
	renew := leaf.NotBefore.UnixMilli() + (leaf.NotAfter.UnixMilli()-leaf.NotBefore.UnixMilli())/3*2
	b.want(fmt.Sprintf("ok %d", renew), "renew")
	b.want("ok", "close")
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) { // close_notify
		t.Fatal(err)
	}
	c = b.connect(g, "operational")
	if got := c.ConnectionState().PeerCertificates; !got[0].Equal(leaf) {
		t.Fatal(got[0].Subject)
	}
	echo(t, b, c, 100, 100)
	b.off()

	b = boot(t, g, o)
	b.want("ok 0", "fresh")
	b.want("ok 1", "enrolled")
	c = b.connect(g, "operational")
	if got := c.ConnectionState().PeerCertificates; !got[0].Equal(leaf) {
		t.Fatal(got[0].Subject)
	}
	// Lapsed by the gateway's time.
	b.want("ok", "time %d", leaf.NotAfter.UnixMilli()+1000)
	b.want("ok 1", "enrolled")
	b.want("ok", "trusted")
	b.want("ok 0", "enrolled")
	b.want("ok", "time %d", leaf.NotAfter.UnixMilli())
	b.want("ok 1", "enrolled")
	b.off()

	// The same by a floor, before anybody said anything.
	o.floor = leaf.NotAfter.Add(time.Minute)
	b = boot(t, g, o)
	b.want("ok 0", "enrolled")
	b.connect(g, "operational") // it can still be shown
	b.want("ok 0", "drop")
	b.want("ok 0", "enrolled")
}

// Chains: ours with an intermediate, the gateway's with one, as large as the specification lets it be.
func TestChains(t *testing.T) {
	ca := newAuthority(t, "platform")
	middle := ca.intermediate("middle")
	fill := func(n int) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			for i := range n {
				c.DNSNames = append(c.DNSNames, fmt.Sprintf("%050d.example", i))
			}
		}
	}
	for _, n := range []int{0, 20, 46} {
		certificate := middle.server(fill(n), middle.cert)
		g := newGateway(t, certificate, nil)
		b := boot(t, g, options{anchors: []*x509.Certificate{newAuthority(t, "another").cert, ca.cert}})
		echo(t, b, b.connect(g, "first"), 10, 10)
		csr, _ := x509.ParseCertificateRequest(b.bytes("csr"))
		leaf := middle.device(csr.PublicKey.(*ecdsa.PublicKey), nil)
		b.want("ok 0", "store %x,%x,%x", leaf.Raw, middle.cert.Raw, ca.cert.Raw)
		c := b.connect(g, "operational")
		pool := x509.NewCertPool()
		pool.AddCert(ca.cert)
		between := x509.NewCertPool()
		chain := c.ConnectionState().PeerCertificates
		for _, m := range chain[1:] {
			between.AddCert(m)
		}
		if _, err := chain[0].Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, CurrentTime: base,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil || len(chain) != 3 {
			t.Fatal(len(chain), err)
		}
		used, peak := b.heap()
		t.Logf("gateway's chain %d bytes: heap %d, peak %d", len(certificate.Certificate[0])+len(certificate.Certificate[1]), used, peak)
	}
	// One that is too large for a small device fails, and is not taken for a refusal of ours.
	g := newGateway(t, middle.server(fill(80), middle.cert), nil)
	b := boot(t, g, options{anchors: []*x509.Certificate{ca.cert}})
	b.want("ok", "open first")
	if got := b.do("wait"); !strings.HasPrefix(got, "error -6 ") {
		t.Fatal(got)
	}
	// Our own, as large as it is taken.
	csr, _ := x509.ParseCertificateRequest(b.bytes("csr"))
	g = newGateway(t, ca.server(nil), nil)
	o := options{folder: t.TempDir(), anchors: []*x509.Certificate{ca.cert}}
	b = boot(t, g, o)
	csr, _ = x509.ParseCertificateRequest(b.bytes("csr"))
	taken := 0
	for pad := 0; ; pad += 8 {
		leaf := ca.device(csr.PublicKey.(*ecdsa.PublicKey), func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, padding(pad+400))
		})
		if got := b.do("store %x,%x", leaf.Raw, ca.cert.Raw); got == "ok -2" {
			break
		} else if got != "ok 0" {
			t.Fatal(got)
		}
		taken = len(leaf.Raw) + len(ca.cert.Raw)
	}
	if taken < 1950 {
		t.Fatal("only", taken)
	}
	echo(t, b, b.connect(g, "operational"), 10, 10)
	_, peak := b.heap()
	t.Logf("our chain %d bytes: peak %d", taken, peak)
}

// The gateway's certificate, in every way that it can be wrong. WB_EIO: it is not our certificate that was refused.
func TestGatewayRefused(t *testing.T) {
	ca, other := newAuthority(t, "platform"), newAuthority(t, "platform")
	middle := ca.intermediate("middle")
	for _, test := range []struct {
		what        string
		certificate tls.Certificate
		o           options
		why         string // empty: it is taken
	}{
		{"right", ca.server(nil), options{}, ""},
		{"right address", ca.server(nil), options{name: "127.0.0.1"}, ""},
		{"right wildcard", ca.server(func(c *x509.Certificate) { c.DNSNames = []string{"*.example"} }), options{}, ""},
		{"other anchor of the same name", other.server(nil), options{}, "leads to no trust anchor"},
		{"second anchor", other.server(nil), options{anchors: []*x509.Certificate{ca.cert, other.cert}}, ""},
		{"no intermediate", middle.server(nil), options{}, "leads to no trust anchor"},
		{"intermediate", middle.server(nil, middle.cert), options{}, ""},
		{"leaf signs", leafSigned(t, ca), options{}, "leads to no trust anchor"},
		{"issuer without a name", leafSigned(t, &authority{t: t, key: ca.key, cert: &x509.Certificate{}}), options{}, "cannot be read"},
		{"other name", ca.server(nil), options{name: "other.example"}, "is for another name"},
		{"other address", ca.server(nil), options{name: "127.0.0.2"}, "is for another name"},
		{"common name only", ca.server(func(c *x509.Certificate) {
			c.DNSNames, c.IPAddresses, c.Subject.CommonName = nil, nil, "gateway.example"
		}), options{}, "is for another name"},
		{"for clients", ca.server(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), options{}, "not for this use"},
		{"expired by the floor", ca.server(nil), options{floor: base.AddDate(0, 4, 0)}, "has expired"},
		{"valid by the floor", ca.server(nil), options{floor: base.AddDate(0, 2, 0)}, ""},
		{"not valid yet by the floor", ca.server(nil), options{floor: base.AddDate(0, -2, 0)}, ""}, // it only says what has passed
		{"intermediate expired", middle.server(func(c *x509.Certificate) { c.NotAfter = base.AddDate(9, 0, 0) }, middle.cert),
			options{floor: base.AddDate(6, 0, 0)}, "has expired"},
	} {
		t.Run(test.what, func(t *testing.T) {
			g := newGateway(t, test.certificate, nil)
			if test.o.anchors == nil {
				test.o.anchors = []*x509.Certificate{ca.cert}
			}
			b := boot(t, g, test.o)
			before, _ := b.heap()
			b.want("ok", "open first")
			got := b.do("wait")
			if test.why == "" {
				if got != "ok 1" {
					t.Fatal(got)
				}
				if name := g.conn().ConnectionState().ServerName; net.ParseIP(name) != nil {
					t.Fatalf("an address was sent as server name: %s", name)
				}
				return
			}
			if !strings.HasPrefix(got, "error -4 ") || !strings.Contains(got, test.why) {
				t.Fatal(got)
			}
			g.failure()
			b.want(got, "wait") // and stays
			if got2 := b.do("recv 1"); got2 != got {
				t.Fatal(got2)
			}
			if after, _ := b.heap(); after != before {
				t.Fatalf("heap %d, was %d", after, before)
			}
		})
	}
}

// leafSigned is a certificate that another leaf of the CA signed.
func leafSigned(t *testing.T, ca *authority) tls.Certificate {
	parent := ca.server(func(c *x509.Certificate) { c.Subject.CommonName = "leaf" })
	leaf, _ := x509.ParseCertificate(parent.Certificate[0])
	a := &authority{t: t, key: parent.PrivateKey.(*ecdsa.PrivateKey), cert: leaf}
	return a.server(nil, leaf)
}

// What welcome's time says of the gateway's certificate.
func TestTrusted(t *testing.T) {
	ca := newAuthority(t, "platform")
	g := newGateway(t, ca.server(nil), nil) // base - 1 h … base + 3 months
	for _, test := range []struct {
		what        string
		floor, told time.Time
		why         string
	}{
		{"right", time.Time{}, base, ""},
		{"right over a floor", base.Add(-time.Hour), base, ""},
		{"never told", time.Time{}, time.Time{}, ""},
		{"expired", time.Time{}, base.AddDate(0, 4, 0), "has expired"},
		{"not valid yet", time.Time{}, base.AddDate(0, -1, 0), "not valid yet"},
		{"goes back behind the floor", base, base.AddDate(0, -1, 0), ""}, // judged by the floor
	} {
		t.Run(test.what, func(t *testing.T) {
			b := boot(t, g, options{floor: test.floor, anchors: []*x509.Certificate{ca.cert}})
			b.connect(g, "first")
			if !test.told.IsZero() {
				b.want("ok", "time %d", test.told.UnixMilli())
			}
			got := b.do("trusted")
			if test.why == "" && got != "ok" || test.why != "" && !(strings.HasPrefix(got, "error -11 ") && strings.Contains(got, test.why)) {
				t.Fatal(got)
			}
			if test.why == "" {
				return
			}
			// What it said counts for nothing: an honest gateway is taken afterwards.
			c := b.connect(g, "first")
			b.want("ok", "time %d", base.UnixMilli())
			b.want("ok", "trusted")
			echo(t, b, c, 10, 10)
		})
	}
	// What a trusted one said stays: an expired certificate does not get in by telling an older time.
	b := boot(t, g, options{anchors: []*x509.Certificate{ca.cert}})
	b.connect(g, "first")
	b.want("ok", "time %d", base.UnixMilli())
	b.want("ok", "trusted")
	b.want("ok", "time %d", base.AddDate(0, 2, 0).UnixMilli())
	b.connect(g, "first")
	b.want("ok", "time %d", base.UnixMilli())
	b.want("ok", "trusted")
	b.want("ok", "floor %d", base.AddDate(0, 3, 1).UnixMilli())
	b.want("ok", "floor %d", base.UnixMilli()) // only forward
	b.want("ok", "open first")
	if got := b.do("wait"); !strings.Contains(got, "has expired") {
		t.Fatal(got)
	}
}

// Our certificate refused: in TLS 1.3 the device hears of it after its handshake.
func TestOursRefused(t *testing.T) {
	ca := newAuthority(t, "platform")
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	g := newGateway(t, ca.server(nil), func(g *gateway) {
		g.config.ClientAuth, g.config.ClientCAs = tls.RequireAndVerifyClientCert, pool
		g.config.Time = func() time.Time { return base }
	})
	b := boot(t, g, options{anchors: []*x509.Certificate{ca.cert}})
	refused := func(kind string, first string) {
		t.Helper()
		b.want("ok", "open %s", kind)
		b.want("ok 1", "wait")
		if err := g.failure(); err == nil {
			t.Fatal("taken")
		}
		if first != "" {
			b.do("%s", first)
		}
		if got := b.do("recv 1"); !strings.HasPrefix(got, "error -11 ") || !strings.Contains(got, "refused our certificate") {
			t.Fatal(got)
		}
		if got := b.do("state"); got != "ok -11" {
			t.Fatal(got)
		}
		if got := b.do("send 00"); !strings.HasPrefix(got, "error -11 ") {
			t.Fatal(got)
		}
	}
	refused("first", "")
	b.enroll(ca, func(c *x509.Certificate) { c.NotAfter = base.Add(-time.Minute) })
	refused("operational", "")
	b.enroll(ca, nil)
	c := b.connect(g, "operational")
	echo(t, b, c, 10, 10)
}

// Alerts by their numbers.
func TestAlerts(t *testing.T) {
	ca := newAuthority(t, "platform")
	for alert, want := range map[byte]string{
		0: "error -6 0 the gateway closed", 40: "error -6 40 the gateway sent an alert", 42: "error -11 42 the gateway refused our certificate",
		43: "error -11 43 ", 44: "error -11 44 ", 45: "error -11 45 ", 46: "error -11 46 ", 47: "error -6 47 ", 48: "error -11 48 ",
		49: "error -11 49 ", 51: "error -6 51 ", 80: "error -6 80 ", 112: "error -6 112 ", 116: "error -11 116 ", 120: "error -6 120 ",
	} {
		t.Run(fmt.Sprint(alert), func(t *testing.T) {
			level := byte(2)
			if alert == 0 {
				level = 1
			}
			g := newGateway(t, ca.server(nil), func(g *gateway) {
				g.raw = func(c net.Conn) net.Conn {
					c.Read(make([]byte, 1000)) // its hello
					c.Write([]byte{21, 3, 3, 0, 2, level, alert})
					return nil
				}
			})
			b := boot(t, g, options{anchors: []*x509.Certificate{ca.cert}})
			b.want("ok", "open first")
			if got := b.do("wait"); !strings.HasPrefix(got, want) {
				t.Fatal(got)
			}
		})
	}
}

// A gateway that speaks something else.
func TestOtherProtocols(t *testing.T) {
	ca := newAuthority(t, "platform")
	for what, edit := range map[string]func(*tls.Config){
		"no ALPN":       func(c *tls.Config) { c.NextProtos = nil },
		"another ALPN":  func(c *tls.Config) { c.NextProtos = []string{"h2"} },
		"TLS 1.2":       func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 },
		"another curve": func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} },
	} {
		t.Run(what, func(t *testing.T) {
			g := newGateway(t, ca.server(nil), func(g *gateway) { edit(g.config) })
			b := boot(t, g, options{anchors: []*x509.Certificate{ca.cert}})
			b.want("ok", "open first")
			if got := b.do("wait"); !strings.HasPrefix(got, "error -6 ") {
				t.Fatal(got)
			} else {
				t.Log(got)
			}
		})
	}
	g := newGateway(t, ca.server(nil), func(g *gateway) { g.config.ClientAuth = tls.NoClientCert })
	b := boot(t, g, options{anchors: []*x509.Certificate{ca.cert}})
	echo(t, b, b.connect(g, "first"), 10, 10) // not asked for one: SPEC has it asked, but nothing is lost
	for _, name := range []string{strings.Repeat("n", 256)} {
		if _, got := tryBoot(t, g, options{name: name, anchors: []*x509.Certificate{ca.cert}}); got != "error -1 0 init" {
			t.Fatal(got)
		}
	}
	if _, got := tryBoot(t, g, options{anchors: []*x509.Certificate{{Raw: []byte("not a certificate")}}}); got != "error -10 0 init" {
		t.Fatal(got)
	}
}
