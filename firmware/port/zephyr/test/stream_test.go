package test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func padding(n int) pkix.Extension {
	return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, Value: make([]byte, n)}
}

// recordSize is the gateway's (gateway/limits.go).
const recordSize = 4000

func TestRecords(t *testing.T) {
	ca := newAuthority(t, "platform")
	g := newGateway(t, ca.server(nil), nil)
	b := boot(t, g, options{anchors: []*x509.Certificate{ca.cert}})
	c := b.connect(g, "first")
	for _, n := range []int{1, 2, 255, 256, 776, 777, 778, 2046, 2047, 2048, 2049, 3999, 4000, 4001, 4096, 8000, 15000} {
		for _, record := range []int{1000, recordSize, 4096} {
			echo(t, b, c, n, record)
		}
	}
	// An empty record is nothing.
	if _, err := c.Write(nil); err != nil {
		t.Fatal(err)
	}
	echo(t, b, c, 10, 1)
	// A record that is larger than its buffer ends the link.
	if _, err := c.Write(make([]byte, 4200)); err != nil {
		t.Fatal(err)
	}
	if got := b.do("recv 1"); !strings.HasPrefix(got, "error -6 ") {
		t.Fatal(got)
	}
}

// Streams that take and bring little at a time.
func TestSlowStreams(t *testing.T) {
	ca := newAuthority(t, "platform")
	g := newGateway(t, ca.server(nil), nil)
	for _, chunk := range []int{1, 2, 7, 100} {
		t.Run(fmt.Sprint(chunk), func(t *testing.T) {
			b := boot(t, g, options{chunk: chunk, anchors: []*x509.Certificate{ca.cert}})
			c := b.connect(g, "first")
			for _, n := range []int{1, 100, 3000, 5000} {
				echo(t, b, c, n, recordSize)
			}
			b.enroll(ca, nil)
			c = b.connect(g, "operational")
			echo(t, b, c, 100, recordSize)
		})
	}
}

// cutter ends a connection after so many bytes from the gateway.
type cutter struct {
	net.Conn
	left *atomic.Int64
	rst  bool
}

func (c *cutter) Write(b []byte) (int, error) {
	left := c.left.Load()
	if int64(len(b)) <= left {
		c.left.Add(-int64(len(b)))
		return c.Conn.Write(b)
	}
	c.Conn.Write(b[:left])
	if tc, ok := c.Conn.(*net.TCPConn); ok && c.rst {
		tc.SetLinger(0)
	}
	c.Conn.Close()
	return int(left), errors.New("cut")
}

// The connection ends after every so many bytes: never anything but WB_ECLOSED, and nothing stays on the heap.
func TestCut(t *testing.T) {
	ca := newAuthority(t, "platform")
	var left atomic.Int64
	var rst atomic.Bool
	g := newGateway(t, ca.server(nil), func(g *gateway) {
		g.raw = func(c net.Conn) net.Conn { return &cutter{Conn: c, left: &left, rst: rst.Load()} }
	})
	b := boot(t, g, options{anchors: []*x509.Certificate{ca.cert}})
	b.enroll(ca, nil)
	before, _ := b.heap()
	stood := 0
	for at := int64(0); stood < 3; at += 37 {
		left.Store(at)
		rst.Store(at%2 == 0)
		kind := []string{"first", "operational"}[at%2]
		b.want("ok", "open %s", kind)
		got := b.do("wait")
		switch {
		case got == "ok 1": // all of it came
			stood++
			c := g.conn()
			left.Store(25) // in the middle of a record
			c.Write(make([]byte, 100))
			if got := b.do("recv 100"); !strings.HasPrefix(got, "error -6 ") {
				t.Fatal(got)
			}
		case strings.HasPrefix(got, "error -6 "):
			g.failure()
		default:
			t.Fatal(at, got)
		}
		if after, _ := b.heap(); after != before {
			t.Fatalf("cut at %d: heap %d, was %d", at, after, before)
		}
	}
	left.Store(1 << 30)
	echo(t, b, b.connect(g, "operational"), 100, 100)
	// Nobody listens.
	g.listener.Close()
	b.want("ok", "open first")
	if got := b.do("wait"); !strings.HasPrefix(got, "error -6 ") {
		t.Fatal(got)
	}
}

// What came before the end is delivered before the end is.
func TestEnd(t *testing.T) {
	ca := newAuthority(t, "platform")
	g := newGateway(t, ca.server(nil), nil)
	b := boot(t, g, options{anchors: []*x509.Certificate{ca.cert}})
	for _, notify := range []bool{true, false} {
		c := b.connect(g, "first")
		goodbye := bytes.Repeat([]byte("goodbye "), 300)
		if _, err := c.Write(goodbye); err != nil {
			t.Fatal(err)
		}
		if notify {
			c.CloseWrite()
		}
		c.NetConn().Close()
		b.do("send 0102") // may find the connection closed already
		b.do("send 0102")
		if got := b.bytes("recv %d", len(goodbye)); !bytes.Equal(got, goodbye) {
			t.Fatal("the goodbye was lost")
		}
		if got := b.do("recv 1"); !strings.HasPrefix(got, "error -6 ") {
			t.Fatal(got)
		}
		b.want("ok", "close")
		b.want("ok", "close")
	}
}

// A gateway that does not read: what was taken is sent when it reads again.
func TestBackpressure(t *testing.T) {
	ca := newAuthority(t, "platform")
	g := newGateway(t, ca.server(nil), nil)
	b := boot(t, g, options{chunk: 100, anchors: []*x509.Certificate{ca.cert}})
	c := b.connect(g, "first")
	data := make([]byte, 15000)
	rand.Read(data)
	done := make(chan error, 1)
	go func() {
		time.Sleep(50 * time.Millisecond)
		got := make([]byte, len(data))
		_, err := io.ReadFull(c, got)
		if err == nil && !bytes.Equal(got, data) {
			err = errors.New("other bytes")
		}
		done <- err
	}()
	b.want("ok", "send %x", data)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Two hundred links of both kinds: the heap is as it was.
func TestReconnects(t *testing.T) {
	ca := newAuthority(t, "platform")
	g := newGateway(t, ca.server(nil), nil)
	b := boot(t, g, options{anchors: []*x509.Certificate{ca.cert}})
	b.enroll(ca, nil)
	idle, _ := b.heap()
	var steady, top int
	start := time.Now()
	for i := range 200 {
		kind := []string{"first", "operational"}[i%2]
		c := b.connect(g, kind)
		b.want("ok", "time %d", base.UnixMilli())
		b.want("ok", "trusted")
		echo(t, b, c, 64, 64)
		used, peak := b.heap()
		if i < 2 {
			steady, top = used, max(top, peak)
		} else if used != steady || peak != top {
			t.Fatalf("link %d: heap %d, peak %d; were %d, %d", i, used, peak, steady, top)
		}
		switch i % 3 {
		case 0:
			b.want("ok", "close")
		case 1:
			c.Close()
		} // 2: open closes it
	}
	b.want("ok", "close")
	if used, _ := b.heap(); used != idle {
		t.Fatalf("heap %d, was %d", used, idle)
	}
	t.Logf("heap: %d idle, %d with a link, peak %d; %v a link", idle, steady, top, time.Since(start)/200)
}

// Renewal stores a chain while a link stands.
func TestRenewInSession(t *testing.T) {
	ca := newAuthority(t, "platform")
	g := newGateway(t, ca.server(nil), nil)
	b := boot(t, g, options{anchors: []*x509.Certificate{ca.cert}})
	b.enroll(ca, nil)
	for range 5 {
		c := b.connect(g, "operational")
		leaf := b.enroll(ca, nil)
		echo(t, b, c, 100, 100)
		c = b.connect(g, "operational")
		if !c.ConnectionState().PeerCertificates[0].Equal(leaf) {
			t.Fatal("not the newest certificate")
		}
	}
	_, peak := b.heap()
	t.Logf("peak %d", peak)
}

// Every boot with the same seed gives other random bytes.
func TestRandomness(t *testing.T) {
	ca := newAuthority(t, "platform")
	seen := map[string]bool{}
	g := newGateway(t, ca.server(nil), nil)
	o := options{folder: t.TempDir(), anchors: []*x509.Certificate{ca.cert}}
	for range 10 {
		b := boot(t, g, o)
		r := string(b.bytes("random"))
		if seen[r] {
			t.Fatal("the same bytes after a reboot")
		}
		seen[r] = true
		b.cmd.Process.Kill()
		b.cmd.Wait()
	}
}
