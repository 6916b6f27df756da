package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

func TestModules(t *testing.T) {
	var loads, misses atomic.Int32
	gate := make(chan struct{})
	store := map[string][]byte{}
	now := time.Unix(1e9, 0)
	m := newModules(func(_ context.Context, d string) ([]byte, error) {
		loads.Add(1)
		<-gate
		if b, ok := store[d]; ok {
			return b, nil
		}
		return nil, errs.New(errs.NotFound, "no")
	}, func(string) error { misses.Add(1); return nil }, func() time.Time { return now })
	m.size = 250
	put := func(b []byte) digest {
		d := digest(sha256.Sum256(b))
		store[d.String()] = b
		return d
	}
	a, b, c := put(make([]byte, 100)), put(make([]byte, 101)), put(make([]byte, 102))
	var wg sync.WaitGroup
	for range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if got, err := m.get(t.Context(), a); err != nil || len(got) != 100 {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		}()
	}
	eventually(t, "somebody loads", func() bool { return loads.Load() > 0 })
	close(gate)
	wg.Wait()
	if loads.Load() != 1 {
		t.Fatalf("read %d times", loads.Load())
	}
	for _, d := range []digest{b, a, c} { // b is the one not used lately
		if _, err := m.get(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := m.cached(b); ok || m.held > 250 {
		t.Fatalf("%d bytes are held", m.held)
	}
	if _, ok := m.cached(a); !ok {
		t.Fatal("what was just used is forgotten")
	}
	none := digest(sha256.Sum256([]byte("none")))
	for range 5 {
		if _, err := m.get(t.Context(), none); !errs.Is(err, errs.NotFound) {
			t.Fatal(err)
		}
	}
	if misses.Load() != 1 {
		t.Fatalf("asked %d times", misses.Load())
	}
	now = now.Add(moduleMissEvery)
	m.get(t.Context(), none)
	if misses.Load() != 2 {
		t.Fatalf("asked %d times", misses.Load())
	}
	store[none.String()] = []byte("something else")
	if _, err := m.get(t.Context(), none); !errs.Is(err, errs.Invalid) {
		t.Fatal(err)
	}
}

func TestRate(t *testing.T) {
	now := time.Unix(1e9, 0)
	r := rate{perSecond: 1000}
	var wait time.Duration
	for range 4 {
		wait = r.take(1000, now)
	}
	if wait != 4*time.Second {
		t.Fatalf("%v", wait)
	}
	if wait = r.take(0, now.Add(10*time.Second)); wait != 0 {
		t.Fatalf("%v", wait)
	}
	if wait = (&rate{}).take(1<<30, now); wait != 0 {
		t.Fatalf("%v", wait)
	}
}

func TestJudgeRemembersNoLongerThanItMay(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	k := newKey(t)
	der := ca.issue(spiffe(testDomain, testNS, "press-1"), &k.PublicKey, time.Now().Add(time.Hour))
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	j := newJudge(testDomain, testNS)
	under := func(a *authority, at time.Time) identity {
		tr, err := newTrust(a.pem(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return j.identify(tr, []*x509.Certificate{leaf}, at)
	}
	now := time.Now()
	for range 2 {
		if id := under(ca, now); !id.enrolled || id.device.Name != "press-1" || id.fingerprint != fingerprint(t, k) {
			t.Fatalf("%+v", id)
		}
	}
	if j.known.len() != 1 {
		t.Fatal("not remembered")
	}
	if id := under(ca, now.Add(2*time.Hour)); id.enrolled || id.why != strangerLapsed {
		t.Fatalf("%+v", id)
	}
	if id := under(other, now); id.enrolled || id.why != strangerUnknown {
		t.Fatalf("%+v", id)
	}
	if id := j.identify(nil, []*x509.Certificate{leaf}, now); id.why != strangerNoTrust {
		t.Fatalf("%+v", id)
	}
	r := newRing[int, int](10)
	for i := range 1000 {
		r.put(i, i)
		r.get(0)
	}
	if r.len() > 10 {
		t.Fatalf("%d entries", r.len())
	}
	if _, ok := r.get(0); !ok {
		t.Fatal("what is used is forgotten")
	}
}

func TestServerCertificateIsReadAgain(t *testing.T) {
	ca := newAuthority(t)
	dir := t.TempDir()
	f := &certFile{cert: filepath.Join(dir, "cert"), key: filepath.Join(dir, "key")}
	if err := f.reload(); !errs.Is(err, errs.Invalid) {
		t.Fatal(err)
	}
	write := func(at time.Time) []byte {
		c, err := ca.server()(nil)
		if err != nil {
			t.Fatal(err)
		}
		cert, key := pemPair(t, c)
		for name, b := range map[string][]byte{f.cert: cert, f.key: key} {
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(name, at, at); err != nil {
				t.Fatal(err)
			}
		}
		return c.Certificate[0]
	}
	now := time.Now()
	for i := range 2 {
		want := write(now.Add(time.Duration(i) * time.Second))
		if err := f.reload(); err != nil {
			t.Fatal(err)
		}
		if c, err := f.get(nil); err != nil || string(c.Certificate[0]) != string(want) {
			t.Fatalf("%d: %v", i, err)
		}
	}
	os.WriteFile(f.cert, []byte("rubbish"), 0o600)
	if err := f.reload(); err == nil {
		t.Fatal("rubbish was taken")
	}
	if _, err := f.get(nil); err != nil {
		t.Fatal("the former certificate is gone")
	}
}
