package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/ledger"
)

// TestAddresses: what is whose, in all the ways that IPv4 hides in IPv6.
func TestAddresses(t *testing.T) {
	for k, as := range map[kind][]string{
		public: {"1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "192.167.1.1", "223.255.255.255", "::ffff:8.8.8.8"},
		private: {
			"127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "198.18.0.1", "::1", "fd12:3456::1", "fc00::1",
			"::ffff:127.0.0.1", "::ffff:10.1.2.3", "::ffff:7f00:1",
		},
		never: {
			"0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1", "192.0.0.192", "192.0.2.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
			"100.100.100.200", "168.63.129.16", "fd00:ec2::254", "::", "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1", "ff02::1", "::ffff:169.254.169.254", "::ffff:0.0.0.0", "::ffff:a9fe:a9fe",
			"64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "::127.0.0.1", "::7f00:1", "2001::1", "2001:0:7f00:1::", "2001:db8::1", "100::1", "3fff::1", "5f00::1", "4000::1", "1::1",
		},
	} {
		for _, a := range as {
			if got := kindOf(netip.MustParseAddr(a)); got != k {
				t.Errorf("%s is %d, want %d", a, got, k)
			}
		}
	}
	if kindOf(netip.Addr{}) != never {
		t.Error("no address at all is dialled")
	}
}

func FuzzAddresses(f *testing.F) {
	for _, s := range []string{"127.0.0.1:80", "[::1]:443", "[::ffff:10.0.0.1]:1", "1.1.1.1:443", "localhost:1", "[fe80::1%lo]:80", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if (reach{}).allows(s) != nil {
			return
		}
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			t.Fatalf("%q is allowed and is no address", s)
		}
		if a := ap.Addr().Unmap(); a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() {
			t.Fatalf("%q is allowed", s)
		}
	})
}

// TestForbiddenURLs: nobody's server in this process hears anything of a webhook that may not go to private addresses.
func TestForbiddenURLs(t *testing.T) {
	var heard atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { heard.Add(1) }))
	defer srv.Close()
	port := srv.URL[strings.LastIndex(srv.URL, ":"):]
	for _, host := range []string{
		"127.0.0.1", "localhost", "localhost.", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]", "127.1", "2130706433", "0x7f000001", "017700000001", "0x7f.1",
		"127.0.0.1.", "169.254.169.254", "[fe80::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "10.0.0.1", "192.168.0.1",
	} {
		hc := newClient(reach{}, nil, nil)
		resp, err := hc.Post("http://"+host+port+"/", "text/plain", strings.NewReader("x"))
		if err == nil {
			resp.Body.Close()
			t.Errorf("%s answers", host)
		}
	}
	if heard.Load() != 0 {
		t.Errorf("the server heard %d requests", heard.Load())
	}
	hc := newClient(reach{private: true, clear: true}, nil, nil)
	if resp, err := hc.Get(srv.URL); err != nil {
		t.Errorf("what is permitted: %v", err)
	} else {
		resp.Body.Close()
	}
	if _, err := newClient(reach{private: true, clear: true}, nil, nil).Get("http://1.1.1.1/"); !errors.Is(err, errForbidden) {
		t.Errorf("in the clear to the world: %v", err)
	}
}

// liar is a DNS server that says a public address first and a private one after it, or both at once.
type liar struct {
	pc    net.PacketConn
	asked atomic.Int64
	both  bool
}

func newLiar(t *testing.T, both bool) *net.Resolver {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	l := &liar{pc: pc, both: both}
	go l.serve()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
}

func (l *liar) serve() {
	buf := make([]byte, 1500)
	for {
		n, from, err := l.pc.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		q := m.Questions[0]
		m.Response, m.Authoritative, m.Additionals = true, true, nil
		if q.Type == dnsmessage.TypeA {
			answer := func(a [4]byte) {
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, Type: q.Type}, Body: &dnsmessage.AResource{A: a}})
			}
			if l.both || l.asked.Add(1) > 1 {
				answer([4]byte{127, 0, 0, 1})
			} else {
				answer([4]byte{192, 0, 2, 1}) // looks like somebody's; a check before the dialling would see only this
			}
			if l.both {
				answer([4]byte{169, 254, 169, 254})
			}
		}
		if b, err := m.Pack(); err == nil {
			_, _ = l.pc.WriteTo(b, from)
		}
	}
}

// TestRebinding: a name that answers one address to whoever checks and another to whoever dials.
func TestRebinding(t *testing.T) {
	var heard atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { heard.Add(1) }))
	defer srv.Close()
	port := srv.URL[strings.LastIndex(srv.URL, ":"):]
	for _, both := range []bool{false, true} {
		hc := newClient(reach{}, nil, newLiar(t, both))
		for range 3 {
			if resp, err := hc.Get("http://rebind.example" + port + "/"); err == nil {
				resp.Body.Close()
				t.Error("it answers")
			} else if !errors.Is(err, errForbidden) {
				t.Errorf("it is not refused for its address: %v", err)
			}
		}
	}
	if heard.Load() != 0 {
		t.Errorf("heard %d", heard.Load())
	}
}

// TestBadReceivers: those that lead elsewhere, trickle, or never end their answers.
func TestBadReceivers(t *testing.T) {
	var inner atomic.Int64
	secret := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inner.Add(1) }))
	defer secret.Close()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		reason string
		status int
	}{
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, secret.URL, http.StatusTemporaryRedirect)
		}, reasonRedirect, 307},
		"huge": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			for range 200 {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}, reasonRefused, 500},
		"huge header": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 64<<10)) }, reasonNoAnswer, 0},
		"bomb": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, "not gzip")
		}, "", 200},
		"hangs up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, reasonNoAnswer, 0},
		"slow":     {func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, reasonNoAnswer, 0},
		"trickle": {func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := fmt.Fprint(w, "x"); err != nil {
					return
				}
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		}, "", 200}, // it took the event; what it says after that is bounded in time and size
	} {
		t.Run(name, func(t *testing.T) {
			rc := newReceiver(t, func(w http.ResponseWriter, r *http.Request, _ int) {
				if r.Method == http.MethodPost {
					c.answer(w, r)
				}
			})
			b := start(t, rc)
			w := b.webhook("w", rc.URL, nil)
			r := &run{f: b.f, w: w, h: ledger.Hook{Namespace: ns, Name: "w"}}
			w.Default()
			if ok, _, err := r.prepare(t.Context(), ledger.HookState{Waiting: 1}); err != nil || ok.reason != "" {
				t.Fatalf("%+v %v", ok, err)
			}
			ctx := t.Context()
			if name == "slow" || name == "trickle" { // the ten seconds of an attempt, sooner
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
				defer cancel()
			}
			try, _ := r.post(ctx, ledger.HookDelivery{ID: "0a", Event: []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t"}`)})
			if try.Reason != c.reason || try.Status != c.status || len(try.Response) > maxExcerpt {
				t.Errorf("%+v", try)
			}
		})
	}
	if inner.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

// TestPlatformForbids: allowPrivate alone opens nothing.
func TestPlatformForbids(t *testing.T) {
	rc := newReceiver(t, nil)
	b := start(t, rc)
	b.f.d.AllowPrivate = false
	b.webhook("w", rc.URL, nil)
	b.webhook("world", rc.URL, func(s *v1alpha1.WebhookSpec) { s.AllowPrivate = false })
	b.handle(b.event("x.y", "1", 1))
	b.settle()
	if n := len(rc.posts()) + len(rc.of(http.MethodOptions)); n != 0 {
		t.Errorf("%d requests", n)
	}
	if s := b.get("w").Status; s.Conditions == nil || s.Delivered != 0 {
		t.Errorf("%+v", s)
	}
	for _, d := range b.deliveries("world") {
		if len(d.Tries) != 1 || d.Tries[0].Reason != reasonForbidden || strings.Contains(d.Tries[0].Message, rc.URL) {
			t.Errorf("%+v", d)
		}
	}
}
