package ports

import (
	"net"
	"testing"
)

func TestListen(t *testing.T) {
	a, err := Listen("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	if p := a.Addr().(*net.TCPAddr).Port; p < low || p >= high {
		t.Errorf("port %d", p)
	}
	last := a.Addr().String()
	b, err := Listen("127.0.0.1:0", last)
	if err != nil || b.Addr().String() == last {
		t.Errorf("with the last one taken: %v", err)
	}
	if _, err := Listen(last, ""); err == nil {
		t.Error("a port was taken twice")
	}
	a.Close()
	b.Close()
	c, err := Listen("127.0.0.1:0", last)
	if err != nil || c.Addr().String() != last {
		t.Errorf("with the last one free: %v", err)
	}
	c.Close()
	for _, bad := range []string{"nowhere", "127.0.0.1:x", ""} {
		if l, err := Listen(bad, ""); err == nil {
			l.Close()
			t.Errorf("%q was taken", bad)
		}
	}
}
