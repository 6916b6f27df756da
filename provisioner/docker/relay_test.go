package docker

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"wasmbed.io/wasmbed/provisioner"
	"wasmbed.io/wasmbed/provisioner/folder"
)

// echo is a gateway that answers every line with itself, and says goodbye at the end of what it is sent.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
				io.WriteString(c, "goodbye\n")
			}()
		}
	}()
	return l.Addr().String()
}

func TestRelay(t *testing.T) {
	address := echo(t)
	dialed := make(chan string, 100)
	e := &Engine{o: Options{Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Dial: func(ctx context.Context, a string) (net.Conn, error) {
		dialed <- a
		if a != address {
			return nil, errors.New("somewhere else")
		}
		var d net.Dialer
		return d.DialContext(ctx, "tcp", a)
	}}}
	b := &board{id: "plant/press", dir: t.TempDir()}
	if err := os.Mkdir(b.folder(), 0o700); err != nil {
		t.Fatal(err)
	}
	s := provisioner.Spec{Relay: provisioner.Relay{Path: "gateway.sock", Address: address}}
	if err := b.relayed(e, s); err != nil {
		t.Fatal(err)
	}
	connect := func() *net.UnixConn {
		t.Helper()
		c, err := folder.Dial(t.Context(), b.folder(), "gateway.sock")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(20 * time.Second))
		return c.(*net.UnixConn)
	}
	c := connect()
	io.WriteString(c, "hello\n")
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); line != "hello\n" {
		t.Fatalf("%q %v", line, err)
	}
	c.CloseWrite() // the end of one direction is handed on, and the other goes on
	if rest, err := io.ReadAll(r); string(rest) != "goodbye\n" || err != nil {
		t.Errorf("%q %v", rest, err)
	}

	// No more than so many at once, and the others go on.
	var all []*net.UnixConn
	for range maxRelayed {
		c := connect()
		io.WriteString(c, "hello\n")
		if line, err := bufio.NewReader(c).ReadString('\n'); line != "hello\n" {
			t.Fatalf("%q %v", line, err)
		}
		all = append(all, c)
	}
	if n, err := connect().Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("one too many: %d %v", n, err)
	}
	all[0].Close()
	for end := time.Now().Add(20 * time.Second); ; { // its place is free in a moment
		c := connect()
		io.WriteString(c, "hello\n")
		if line, _ := bufio.NewReader(c).ReadString('\n'); line == "hello\n" {
			break
		}
		c.Close()
		if time.Now().After(end) {
			t.Fatal("no place gets free")
		}
	}

	// The end of the relay is the end of all.
	b.unrelay()
	if n, err := all[1].Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("%d %v", n, err)
	}
	if _, err := folder.Dial(t.Context(), b.folder(), "gateway.sock"); err == nil {
		t.Error("somebody listens")
	}

	// A gateway that is away: the board sees its connection end, and tries again.
	s.Relay.Address = "127.0.0.1:1"
	if err := b.relayed(e, s); err != nil {
		t.Fatal(err)
	}
	defer b.unrelay()
	if n, err := connect().Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("%d %v", n, err)
	}
	for len(dialed) > 0 {
		if a := <-dialed; a != address && a != "127.0.0.1:1" {
			t.Errorf("dialed %s", a)
		}
	}
}
