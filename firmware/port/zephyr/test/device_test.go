// Package test has crypto/tls, set up as the gateway sets it up, talk to the Zephyr port's TLS: see the Makefile.
package test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for something that takes milliseconds.
const patience = 30 * time.Second

// authority is a CA.
type authority struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

var base = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: base.AddDate(-1, 0, 0), NotAfter: base.AddDate(10, 0, 0), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	a.cert = a.make(template, template, a.key, &a.key.PublicKey)
	return a
}

func (a *authority) make(template, parent *x509.Certificate, signer *ecdsa.PrivateKey, key *ecdsa.PublicKey) *x509.Certificate {
	a.t.Helper()
	template.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<62))
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

// intermediate makes a CA below a.
func (a *authority) intermediate(name string) *authority {
	a.t.Helper()
	b := &authority{t: a.t, key: newKey(a.t)}
	b.cert = a.make(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		NotBefore: base.AddDate(0, -6, 0), NotAfter: base.AddDate(5, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}, a.cert, a.key, &b.key.PublicKey)
	return b
}

// server issues a gateway's certificate; edit changes its template.
func (a *authority) server(edit func(*x509.Certificate), above ...*x509.Certificate) tls.Certificate {
	a.t.Helper()
	key := newKey(a.t)
	template := &x509.Certificate{
		DNSNames: []string{"gateway.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: base.Add(-time.Hour), NotAfter: base.AddDate(0, 3, 0),
	}
	if edit != nil {
		edit(template)
	}
	c := tls.Certificate{PrivateKey: key, Certificate: [][]byte{a.make(template, a.cert, a.key, &key.PublicKey).Raw}}
	for _, b := range above {
		c.Certificate = append(c.Certificate, b.Raw)
	}
	return c
}

// device issues an operational certificate.
func (a *authority) device(key *ecdsa.PublicKey, edit func(*x509.Certificate)) *x509.Certificate {
	a.t.Helper()
	template := &x509.Certificate{
		URIs:        []*url.URL{{Scheme: "spiffe", Host: "wasmbed.local", Path: "/ns/default/device/dev-1"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		NotBefore: base.Add(-time.Hour), NotAfter: base.AddDate(0, 0, 7),
	}
	if edit != nil {
		edit(template)
	}
	return a.make(template, a.cert, a.key, key)
}

// gateway accepts connections and does the handshake as the real one does (gateway/listener.go).
type gateway struct {
	t        testing.TB
	listener net.Listener
	config   *tls.Config
	conns    chan *tls.Conn // handshake done
	failures chan error
	wg       sync.WaitGroup
	mu       sync.Mutex
	open     []net.Conn
	raw      func(net.Conn) net.Conn // wraps what was accepted; nil from it: the connection is dealt with
}

func newGateway(t testing.TB, certificate tls.Certificate, edit func(*gateway)) *gateway {
	t.Helper()
	g := &gateway{t: t, conns: make(chan *tls.Conn, 300), failures: make(chan error, 300)}
	g.config = &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert, NextProtos: []string{"wasmbed/1"},
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256}, Certificates: []tls.Certificate{certificate},
		DynamicRecordSizingDisabled: true,
	}
	if edit != nil {
		edit(g)
	}
	var err error
	if g.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	g.wg.Go(func() {
		for {
			c, err := g.listener.Accept()
			if err != nil {
				return
			}
			g.mu.Lock()
			g.open = append(g.open, c)
			g.mu.Unlock()
			g.wg.Go(func() { g.serve(c) })
		}
	})
	t.Cleanup(func() {
		g.listener.Close()
		g.mu.Lock()
		for _, c := range g.open {
			c.Close()
		}
		g.mu.Unlock()
		g.wg.Wait()
	})
	return g
}

func (g *gateway) serve(c net.Conn) {
	if g.raw != nil {
		if c = g.raw(c); c == nil {
			return
		}
	}
	conn := tls.Server(c, g.config)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		g.failures <- err
		c.Close()
		return
	}
	conn.SetDeadline(time.Now().Add(patience))
	g.conns <- conn
}

// conn waits for the next connection that stands.
func (g *gateway) conn() *tls.Conn {
	g.t.Helper()
	select {
	case c := <-g.conns:
		return c
	case err := <-g.failures:
		g.t.Fatal("handshake: ", err)
	case <-time.After(patience):
		g.t.Fatal("no connection")
	}
	return nil
}

func (g *gateway) failure() error {
	g.t.Helper()
	select {
	case err := <-g.failures:
		return err
	case <-g.conns:
		g.t.Fatal("the handshake worked")
	case <-time.After(patience):
		g.t.Fatal("nothing happened")
	}
	return nil
}

// board is one boot of a device.
type board struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

type options struct {
	folder  string // default: a new one
	name    string // default: gateway.example
	floor   time.Time
	chunk   int
	anchors []*x509.Certificate
}

func boot(t testing.TB, g *gateway, o options) *board {
	t.Helper()
	b, answer := tryBoot(t, g, o)
	if answer != "ok" {
		t.Fatal(answer)
	}
	return b
}

func tryBoot(t testing.TB, g *gateway, o options) (*board, string) {
	t.Helper()
	binary := os.Getenv("WASMBED_TLS_DEVICE")
	if binary == "" {
		t.Skip("not run: WASMBED_TLS_DEVICE is not set (make -C firmware/port/zephyr/test)")
	}
	if o.folder == "" {
		o.folder = t.TempDir()
	}
	if o.name == "" {
		o.name = "gateway.example"
	}
	floor := int64(0)
	if !o.floor.IsZero() {
		floor = o.floor.UnixMilli()
	}
	_, port, _ := net.SplitHostPort(g.listener.Addr().String())
	args := []string{o.folder, "127.0.0.1", port, o.name, strconv.FormatInt(floor, 10), strconv.Itoa(o.chunk)}
	for i, a := range o.anchors {
		file := filepath.Join(t.TempDir(), fmt.Sprintf("anchor%d.der", i))
		if err := os.WriteFile(file, a.Raw, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	b := &board{t: t, cmd: exec.Command(binary, args...)}
	b.cmd.Stderr = os.Stderr
	in, err := b.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	b.in, b.out = in, bufio.NewReaderSize(out, 1<<17)
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.off() })
	line, err := b.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return b, strings.TrimSpace(line)
}

// off ends the process; one that a sanitizer ended fails the test.
func (b *board) off() {
	b.t.Helper()
	if b.cmd.ProcessState != nil {
		return
	}
	b.in.Close()
	if err := b.cmd.Wait(); err != nil {
		b.t.Error("the device's process: ", err)
	}
}

// do sends one command and returns the answer.
func (b *board) do(format string, args ...any) string {
	b.t.Helper()
	if _, err := fmt.Fprintf(b.in, format+"\n", args...); err != nil {
		b.t.Fatal(err)
	}
	line, err := b.out.ReadString('\n')
	if err != nil {
		b.t.Fatalf("after %.60s: %v", fmt.Sprintf(format, args...), err)
	}
	return strings.TrimSpace(line)
}

func (b *board) want(answer, format string, args ...any) {
	b.t.Helper()
	if got := b.do(format, args...); got != answer {
		b.t.Fatalf("%.60s: %.200s, want %.200s", fmt.Sprintf(format, args...), got, answer)
	}
}

// bytes is for commands that answer with bytes.
func (b *board) bytes(format string, args ...any) []byte {
	b.t.Helper()
	got := b.do(format, args...)
	text, ok := strings.CutPrefix(got, "ok")
	raw, err := hex.DecodeString(strings.TrimSpace(text))
	if !ok || err != nil {
		b.t.Fatalf("%.60s: %.200s", fmt.Sprintf(format, args...), got)
	}
	return raw
}

// heap returns bytes in use and the peak.
func (b *board) heap() (used, peak int) {
	b.t.Helper()
	if _, err := fmt.Sscanf(b.do("heap"), "ok %d %d", &used, &peak); err != nil {
		b.t.Fatal(err)
	}
	return used, peak
}

// connect opens a link and returns the gateway's side of it.
func (b *board) connect(g *gateway, kind string) *tls.Conn {
	b.t.Helper()
	b.want("ok", "open %s", kind)
	b.want("ok 1", "wait")
	return g.conn()
}

// enroll stores a certificate of a for the device's key.
func (b *board) enroll(a *authority, edit func(*x509.Certificate)) *x509.Certificate {
	b.t.Helper()
	csr, err := x509.ParseCertificateRequest(b.bytes("csr"))
	if err != nil {
		b.t.Fatal(err)
	}
	leaf := a.device(csr.PublicKey.(*ecdsa.PublicKey), edit)
	b.want("ok 0", "store %x", leaf.Raw)
	return leaf
}
