package host

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"
)

// tlsServer answers each connection with serve, with a certificate for 127.0.0.1 and client certificates checked against
// clients (nil: any will do).
func tlsServer(t *testing.T, clients *x509.CertPool, serve func(*tls.Conn)) (address string, config *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	own := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	server := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAnyClientCert}
	if clients != nil {
		server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, clients
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			raw, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				c := tls.Server(raw, server)
				defer c.Close()
				if c.Handshake() == nil {
					serve(c)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		wg.Wait()
	})
	roots := x509.NewCertPool()
	roots.AddCert(must(x509.ParseCertificate(der)))
	return listener.Addr().String(), &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: "127.0.0.1",
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil },
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// testLink opens a link as a device does. changed tells of every wake.
func testLink(t *testing.T, address string, config *tls.Config) (l *link, changed chan struct{}, goroutines *sync.WaitGroup) {
	t.Helper()
	changed = make(chan struct{}, 1)
	goroutines = &sync.WaitGroup{}
	wake := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	l = openLink((&net.Dialer{}).DialContext, address, config, goroutines, wake, func(_ bool, err error) { t.Logf("ended: %v", err) })
	t.Cleanup(func() {
		l.cut()
		goroutines.Wait()
	})
	return l, changed, goroutines
}

// until waits for wakes until ok.
func until(t *testing.T, what string, changed chan struct{}, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("no %s", what)
		}
	}
}

func TestLinkCarriesMuch(t *testing.T) {
	address, config := tlsServer(t, nil, func(c *tls.Conn) { _, _ = io.Copy(c, c) })
	l, changed, _ := testLink(t, address, config)
	until(t, "connection", changed, func() bool { return l.state() == linkConnected })
	want := make([]byte, 1<<20)
	_, _ = rand.Read(want)
	var got []byte
	sent, buf := 0, make([]byte, 1000)
	until(t, "echo of it all", changed, func() bool {
		for {
			moved := false
			if sent < len(want) {
				if n := l.send(want[sent:min(len(want), sent+5000)]); n > 0 {
					sent, moved = sent+n, true
				} else if n != int(linkAgain) {
					t.Fatalf("send: %d", n)
				}
			}
			if n := l.recv(buf); n > 0 {
				got, moved = append(got, buf[:n]...), true
			} else if n != int(linkAgain) {
				t.Fatalf("recv: %d", n)
			}
			if !moved {
				return len(got) == len(want)
			}
		}
	})
	if !bytes.Equal(got, want) {
		t.Error("it came back changed")
	}
}

// The last words of a peer are read before the end of the link is seen.
func TestLinkDeliversLastWords(t *testing.T) {
	address, config := tlsServer(t, nil, func(c *tls.Conn) { _, _ = c.Write([]byte("goodbye")) })
	l, changed, _ := testLink(t, address, config)
	buf := make([]byte, 3)
	var got []byte
	until(t, "end", changed, func() bool {
		for {
			state, n := l.state(), l.recv(buf)
			if n > 0 {
				if state < 0 {
					t.Errorf("the end was seen before %q", buf[:n])
				}
				got = append(got, buf[:n]...)
				continue
			}
			return n == int(linkClosed)
		}
	})
	if string(got) != "goodbye" {
		t.Errorf("got %q", got)
	}
}

// What was sent before close still goes out.
func TestLinkSendsLastWords(t *testing.T) {
	heard := make(chan string, 1)
	address, config := tlsServer(t, nil, func(c *tls.Conn) {
		b, _ := io.ReadAll(c)
		heard <- string(b)
	})
	l, changed, goroutines := testLink(t, address, config)
	until(t, "connection", changed, func() bool { return l.state() == linkConnected })
	l.send([]byte("good"))
	l.send([]byte("bye"))
	l.close()
	if n := l.send([]byte("more")); n != int(linkClosed) {
		t.Errorf("send after close: %d", n)
	}
	if got := <-heard; got != "goodbye" {
		t.Errorf("the peer heard %q", got)
	}
	goroutines.Wait()
}

// A peer that does not read cannot hold a device that closes.
func TestLinkCloseDoesNotHang(t *testing.T) {
	stop := make(chan struct{})
	address, config := tlsServer(t, nil, func(*tls.Conn) { <-stop })
	defer close(stop)
	l, changed, goroutines := testLink(t, address, config)
	until(t, "connection", changed, func() bool { return l.state() == linkConnected })
	chunk := make([]byte, sendBuffer)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if l.send(chunk) == int(linkAgain) {
			select {
			case <-changed:
				continue
			case <-time.After(300 * time.Millisecond): // the socket's buffers are full
			}
			break
		}
	}
	l.close()
	ended := make(chan struct{})
	go func() { goroutines.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(5 * closeTimeout):
		t.Fatal("its goroutines go on")
	}
}

func TestLinkEnds(t *testing.T) {
	ended := func(t *testing.T, address string, config *tls.Config) linkError {
		l, changed, _ := testLink(t, address, config)
		until(t, "end", changed, func() bool { return l.state() < 0 })
		return l.state()
	}
	t.Run("our certificate is refused", func(t *testing.T) {
		address, config := tlsServer(t, x509.NewCertPool(), func(c *tls.Conn) {})
		if got := ended(t, address, config); got != linkAuth {
			t.Errorf("got %d", got)
		}
	})
	t.Run("its certificate is refused", func(t *testing.T) {
		address, config := tlsServer(t, nil, func(c *tls.Conn) {})
		config.RootCAs = x509.NewCertPool()
		if got := ended(t, address, config); got != linkIO {
			t.Errorf("got %d", got)
		}
	})
	t.Run("nobody is there", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = listener.Close()
		if got := ended(t, listener.Addr().String(), &tls.Config{MinVersion: tls.VersionTLS13, ServerName: "x"}); got != linkClosed {
			t.Errorf("got %d", got)
		}
	})
	t.Run("timeout", func(t *testing.T) {
		if got := statusOf(context.DeadlineExceeded); got != linkTimeout {
			t.Errorf("got %d", got)
		}
	})
	t.Run("closed while connecting", func(t *testing.T) {
		dialling := make(chan struct{})
		var goroutines sync.WaitGroup
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			close(dialling)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		l := openLink(dial, "", &tls.Config{MinVersion: tls.VersionTLS13}, &goroutines, func() {}, func(bool, error) { t.Error("ended") })
		<-dialling
		l.close()
		goroutines.Wait()
	})
}
