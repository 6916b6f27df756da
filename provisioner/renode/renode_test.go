// Package renode_test starts the boards that Renode has, with their real images, and takes their reset line and their
// power away. It needs Renode (WASMBED_TEST_RENODE, else `renode` on PATH) and images (WASMBED_TEST_FIRMWARE, else
// build/firmware; `make firmware BOARD=...`), and leaves out what is not there.
package renode_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"wasmbed.io/wasmbed/provisioner"
	"wasmbed.io/wasmbed/provisioner/process"
	"wasmbed.io/wasmbed/provisioner/serial"
)

const patience = 3 * time.Minute // a start is 4 s of CPU; other tests may have the rest

func TestBoards(t *testing.T) {
	program := os.Getenv("WASMBED_TEST_RENODE")
	if program == "" {
		program = "renode"
	}
	program, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("no Renode: %v", err)
	}
	if program, err = filepath.Abs(program); err != nil {
		t.Fatal(err)
	}
	images := os.Getenv("WASMBED_TEST_FIRMWARE")
	if images == "" {
		images = "../../build/firmware"
	}
	for _, b := range provisioner.Boards() {
		image := provisioner.ImageName(b, provisioner.Serial)
		if _, err := os.Stat(filepath.Join(images, image)); b.Renode == "" || errors.Is(err, os.ErrNotExist) {
			continue
		}
		t.Run(b.Name, func(t *testing.T) {
			e, err := process.New(process.Options{Dir: t.TempDir(), Images: images, Programs: map[string]string{"renode": program}})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			lives(t, e, b)
		})
	}
}

// lives runs a board three times: new, reset, and after its power was cut.
func lives(t *testing.T, e *process.Engine, b provisioner.Board) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	d := provisioner.Device{Key: provisioner.Key{Namespace: "default", Name: "board"}, UID: "u", Backend: provisioner.BackendRenode, Transport: provisioner.Serial}
	s, err := provisioner.Plan(d, b, provisioner.PlanOptions{
		Gateway: "gateway.example:1", Trust: [][]byte{anchor(t)}, Seed: bytes.Repeat([]byte{7}, 32), Floor: time.Unix(1700000000, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	i, err := e.Start(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Remove(context.Background(), i.ID) //nolint:errcheck // the folder goes anyway
	hello := make(chan error, 8)
	c := attach(ctx, t, e, i.ID, hello)
	c.until(t, `boot `+b.Name)
	t.Logf("first line after %v", time.Since(begun).Round(100*time.Millisecond))
	c.until(t, `storage: blank`)
	key := c.until(t, `identity: key (\w+) new`)[1]
	c.until(t, `ready`)
	tls(t, hello)

	if err := e.Reset(ctx, i.ID); err != nil {
		t.Fatal(err)
	}
	c.until(t, `storage: kept`)
	c.until(t, `identity: key `+key+`,`)
	tls(t, hello)
	if u, err := e.Usage(ctx, i.ID); err != nil || u.Memory > s.Limits.Memory || u.PIDs > s.Limits.PIDs {
		t.Errorf("it takes %+v of %+v: %v", u, s.Limits, err)
	}

	if err := e.Stop(ctx, i.ID, true); err != nil {
		t.Fatal(err)
	}
	if i, err = e.Start(ctx, s); err != nil {
		t.Fatal(err)
	}
	c = attach(ctx, t, e, i.ID, hello)
	c.until(t, `storage: kept`)
	c.until(t, `identity: key `+key+`,`)
	tls(t, hello)
}

// anchor is a certificate that nobody uses.
func anchor(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nobody"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(1600000000, 0), NotAfter: time.Unix(4000000000, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// tls waits until the board has begun a handshake with the gateway.
func tls(t *testing.T, hello <-chan error) {
	t.Helper()
	select {
	case err := <-hello:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("the board does not connect")
	}
}

// attach reads the console and bridges the link to a gateway that takes a ClientHello and no more.
func attach(ctx context.Context, t *testing.T, e *process.Engine, id string, hello chan<- error) *text {
	t.Helper()
	in, err := e.Console(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	link, err := e.Link(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	c := &text{more: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() { c.read(in) })
	work.Go(func() {
		_ = serial.Bridge(ctx, link, func(context.Context) (net.Conn, error) { return gateway(hello), nil }, slog.New(slog.DiscardHandler))
	})
	t.Cleanup(func() {
		cancel()
		in.Close()
		link.Close()
		work.Wait()
	})
	return c
}

func gateway(hello chan<- error) net.Conn {
	here, there := net.Pipe()
	go func() {
		defer here.Close()
		head := make([]byte, 6)
		_, err := io.ReadFull(here, head)
		if err == nil && (head[0] != 22 || head[5] != 1) { // record: handshake; message: ClientHello
			err = fmt.Errorf("no ClientHello: % x", head)
		}
		select {
		case hello <- err:
		default: // one was enough
		}
	}()
	return there
}

// text is what a board said, from where the last look ended.
type text struct {
	mu   sync.Mutex
	said []byte
	end  error
	more chan struct{}
}

func (c *text) read(r io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		c.mu.Lock()
		c.said = append(c.said, buf[:n]...)
		c.end = err
		c.mu.Unlock()
		select {
		case c.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// until waits for a line and takes what came before it away.
func (c *text) until(t *testing.T, pattern string) []string {
	t.Helper()
	want := regexp.MustCompile(pattern + `.*\n`)
	limit := time.After(patience)
	for {
		c.mu.Lock()
		said, end := c.said, c.end
		at := want.FindSubmatchIndex(said)
		if at != nil {
			c.said = said[at[1]:]
		}
		c.mu.Unlock()
		if at != nil {
			found := []string{}
			for i := 0; i < len(at); i += 2 {
				found = append(found, string(said[at[i]:at[i+1]]))
			}
			return found
		}
		if end != nil {
			t.Fatalf("the console ended (%v) before %q:\n%s", end, pattern, said)
		}
		select {
		case <-c.more:
		case <-limit:
			t.Fatalf("no %q in:\n%s", pattern, said)
		}
	}
}
