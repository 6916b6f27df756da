package tlsfile

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

func write(t *testing.T, dir string, serial int64, at time.Time) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{"crt": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: kb}} {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRenewed(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	crt, key := filepath.Join(dir, "crt"), filepath.Join(dir, "key")
	clock := func() time.Time { return now }
	if _, err := New(crt, key, slog.New(slog.DiscardHandler), clock); !errs.Is(err, errs.Invalid) {
		t.Fatal(err)
	}
	write(t, dir, 1, now)
	f, err := New(crt, key, slog.New(slog.DiscardHandler), clock)
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		c, err := f.Get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf.SerialNumber.Int64()
	}
	write(t, dir, 2, now.Add(time.Second))
	if serial() != 1 {
		t.Error("the files are looked at for every handshake")
	}
	now = now.Add(lookEvery)
	if serial() != 2 {
		t.Error("the new certificate is not served")
	}
	if err := os.WriteFile(key, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(lookEvery)
	if serial() != 2 {
		t.Error("a pair that does not load is served")
	}
	write(t, dir, 3, now)
	now = now.Add(lookEvery)
	if serial() != 3 {
		t.Error("what was mended is not served")
	}
}
