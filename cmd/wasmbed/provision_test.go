package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	uart "go.bug.st/serial"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner/blob"
)

func trustFileFor(t *testing.T, n int) string {
	t.Helper()
	var text []byte
	for range n {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	path := filepath.Join(t.TempDir(), "trust.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func runOffline(t *testing.T, args ...string) (string, error) {
	t.Helper()
	t.Setenv("WASMBED_SERVER", "")
	var out bytes.Buffer
	root := newRoot(&out, io.Discard)
	root.SetArgs(append(args, "--state", t.TempDir()))
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestProvisionWritesABlob(t *testing.T) {
	trust, file := trustFileFor(t, 2), filepath.Join(t.TempDir(), "b")
	out, err := runOffline(t, "provision", "FrdmK64f", "--name", "press-7", "--gateway", "192.168.1.10:8081", "--server-name", "gw.example", "--trust", trust,
		"--claim", "new", "--network", "192.168.1.20/24,192.168.1.1", "--out", file)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := blob.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	if b.Board != "FrdmK64f" || b.Name != "press-7" || b.Host != "192.168.1.10" || b.Port != 8081 || b.ServerName != "gw.example" || len(b.Trust) != 2 ||
		len(b.Claim) != claimSize || len(b.Seed) != blob.MaxSeed || !b.Network.Static || b.Network.Router.String() != "192.168.1.1" || b.Network.DNS.IsValid() {
		t.Errorf("%+v", b)
	}
	if !strings.Contains(out, "sha256:") || !strings.Contains(out, "0xff000") {
		t.Errorf("said %q", out)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st, err)
	}
	if _, err := runOffline(t, "provision", "Mps2An385", "--gateway", "10.0.2.2:8081", "--trust", trust, "--out", file); err != nil {
		t.Error(err)
	}
}

func TestProvisionRefuses(t *testing.T) {
	trust, three, file := trustFileFor(t, 1), trustFileFor(t, 3), filepath.Join(t.TempDir(), "b")
	for name, c := range map[string]struct {
		args []string
		code errs.Code
	}{
		"no such board": {[]string{"Toaster", "--gateway", "g:1", "--trust", trust}, errs.NotFound},
		"refused board": {[]string{"Stm32Vldiscovery", "--gateway", "g:1", "--trust", trust}, errs.Unsupported},
		"no gateway":    {[]string{"FrdmK64f", "--trust", trust}, errs.Invalid},
		"no port":       {[]string{"FrdmK64f", "--gateway", "g", "--trust", trust}, errs.Invalid},
		"port 0":        {[]string{"FrdmK64f", "--gateway", "g:0", "--trust", trust}, errs.Invalid},
		"ipv6":          {[]string{"FrdmK64f", "--gateway", "[::1]:1", "--trust", trust}, errs.Invalid},
		"no trust":      {[]string{"FrdmK64f", "--gateway", "g:1"}, errs.Invalid},
		"three anchors": {[]string{"FrdmK64f", "--gateway", "g:1", "--trust", three}, errs.Invalid},
		"network":       {[]string{"FrdmK64f", "--gateway", "g:1", "--trust", trust, "--network", "static"}, errs.Invalid},
		"prefix":        {[]string{"FrdmK64f", "--gateway", "g:1", "--trust", trust, "--network", "10.0.0.1/32"}, errs.Invalid},
		"claim":         {[]string{"FrdmK64f", "--gateway", "g:1", "--trust", trust, "--claim", "xyz"}, errs.Invalid},
		"name":          {[]string{"FrdmK64f", "--gateway", "g:1", "--trust", trust, "--name", "two words"}, errs.Invalid},
	} {
		if _, err := runOffline(t, append([]string{"provision", "--out", file}, c.args...)...); !errs.Is(err, c.code) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a file was written", name)
		}
	}
}

// pty returns a terminal's two ends: the board's, and the name of the port.
func pty(t *testing.T) (*os.File, string) {
	t.Helper()
	m, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("not run: no pseudo terminals: %v", err)
	}
	t.Cleanup(func() { m.Close() })
	n, err := unix.IoctlGetInt(int(m.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(m.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Skipf("not run: no pseudo terminals: %v", err)
	}
	return m, "/dev/pts/" + big.NewInt(int64(n)).String()
}

// TestBridgeOnATerminal: a real port is opened raw, every byte passes, and it is opened again after it went.
func TestBridgeOnATerminal(t *testing.T) {
	board, name := pty(t)
	gw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer gw.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ports := make(chan io.Closer, 10)
	open := func() (io.ReadWriteCloser, error) {
		p, err := uart.Open(name, &uart.Mode{BaudRate: 115200})
		if err == nil {
			ports <- p
		}
		return p, err
	}
	done := make(chan error, 1)
	go func() {
		done <- keepBridge(ctx, open, func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", gw.Addr().String())
		}, time.Millisecond, slog.New(slog.DiscardHandler))
	}()
	for range 2 {
		port := <-ports
		expect(t, board, []byte{0x10, 'C'})
		board.Write([]byte{0x10, 'O', 5, 0x10, 'W', 100})
		c, err := gw.Accept()
		if err != nil {
			t.Fatal(err)
		}
		expect(t, board, []byte{0x10, 'U', 5})
		var all []byte
		for i := range 256 {
			if i != 0x10 {
				all = append(all, byte(i))
			}
		}
		board.Write(all)
		expect(t, c, all)
		c.Write(all)
		expect(t, board, all)
		port.Close()
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("the connection outlives the port")
		}
		c.Close()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func expect(t *testing.T, r io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%x, want %x: %v", got, want, err)
	}
}

func TestBridgeNeedsThePortAtFirst(t *testing.T) {
	if _, err := runOffline(t, "bridge", filepath.Join(t.TempDir(), "none")); !errs.Is(err, errs.Unavailable) {
		t.Error(err)
	}
	if _, err := runOffline(t, "bridge", "x", "--gateway", "nowhere"); !errs.Is(err, errs.Invalid) {
		t.Error(err)
	}
}
