package console

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"wasmbed.io/wasmbed/provisioner"
)

var key = provisioner.Key{Namespace: "plant", Name: "press"}

// A ring holds the last bytes, however they were written.
func TestRingAgainstModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		size := 1 + rnd.IntN(50)
		r := newRing(size)
		var all []byte
		for range 30 {
			p := make([]byte, rnd.IntN(3*size))
			for i := range p {
				p[i] = byte('a' + rnd.IntN(4))
				if p[i] == 'd' {
					p[i] = '\n'
				}
			}
			r.Write(p)
			all = append(all, p...)
			want := all[max(0, len(all)-size):]
			if got := r.Bytes(); !bytes.Equal(got, want) {
				t.Fatalf("size %d: %q, want %q", size, got, want)
			}
			if cap(r.buf) > 8*size+64 {
				t.Fatalf("a ring of %d bytes takes %d", size, cap(r.buf))
			}
			got, err := io.ReadAll(r.Follow(context.Background(), -1, false))
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("follow: %q, %v", got, err)
			}
		}
	}
}

func TestTail(t *testing.T) {
	for _, x := range []struct {
		text string
		n    int
		want string
	}{
		{"", 3, ""}, {"a\nb\nc\n", 2, "b\nc\n"}, {"a\nb\nc", 2, "b\nc"}, {"a\nb\n", 9, "a\nb\n"}, {"a\nb\n", 0, ""}, {"a\nb\n", -1, "a\nb\n"}, {"\n\n\n", 2, "\n\n"},
	} {
		if got := x.text[lastLines([]byte(x.text), x.n):]; got != x.want {
			t.Errorf("last %d of %q: %q, want %q", x.n, x.text, got, x.want)
		}
	}
}

// Who reads too slowly is told what it missed, and the writer does not wait.
func TestSlowReader(t *testing.T) {
	r := newRing(8)
	f := r.Follow(context.Background(), 0, true)
	r.Write([]byte("0123456789"))
	p := make([]byte, 100)
	n, _ := f.Read(p)
	m, _ := f.Read(p[n:])
	if got := string(p[:n+m]); got != "\n[2 bytes were not read in time]\n23456789" {
		t.Errorf("%q", got)
	}
}

func TestHTTP(t *testing.T) {
	h := New(0, "secret")
	mux := http.NewServeMux()
	mux.Handle("GET /console/{namespace}/{name}", h)
	srv := httptest.NewServer(mux)
	defer srv.Close()
	get := func(path, token string) *http.Response {
		t.Helper()
		r, err := http.NewRequest(http.MethodGet, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	h.Ring(key).Write([]byte("one\ntwo\nthree\n"))
	for path, want := range map[string]int{
		"/console/plant/press": 200, "/console/plant/none": 404, "/console/plant/press?tail=x": 400, "/console/plant/press?tail=-1": 400,
	} {
		if resp := get(path, "secret"); resp.StatusCode != want {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	for _, token := range []string{"", "secre", "secrets", "Secret"} {
		if resp := get("/console/plant/press", token); resp.StatusCode != 401 {
			t.Errorf("token %q: %s", token, resp.Status)
		}
	}
	b, _ := io.ReadAll(get("/console/plant/press?tail=1", "secret").Body)
	if string(b) != "three\n" {
		t.Errorf("%q", b)
	}
	in := bufio.NewReader(get("/console/plant/press?tail=1&follow=true", "secret").Body)
	if line, _ := in.ReadString('\n'); line != "three\n" {
		t.Errorf("%q", line)
	}
	h.Ring(key).Write([]byte("four\n"))
	if line, _ := in.ReadString('\n'); line != "four\n" {
		t.Errorf("%q", line)
	}
	h.Drop(key) // ends followers
	if rest, err := io.ReadAll(in); err != nil || len(rest) != 0 {
		t.Errorf("%q %v", rest, err)
	}
	if resp := get("/console/plant/press", "secret"); resp.StatusCode != 404 {
		t.Errorf("after it was forgotten: %s", resp.Status)
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := t.TempDir() + "/consoles"
	h := New(0, "")
	h.Ring(key).Write([]byte("before\n"))
	if err := h.Save(dir); err != nil {
		t.Fatal(err)
	}
	again := New(0, "")
	again.Load(dir)
	again.Ring(key).Write([]byte("after\n"))
	if got := string(again.Ring(key).Bytes()); !strings.Contains(got, "before\nafter\n") {
		t.Errorf("%q", got)
	}
}
