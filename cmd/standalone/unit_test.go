package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/run"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		args    string
		part    string
		without []string
		rest    []string
		link    bool
		bad     bool
	}{
		{args: ""},
		{args: "--without gateway,devices --without=api", without: []string{"gateway", "devices", "api"}},
		{args: "part broker", part: "broker"},
		{args: "--help", rest: []string{"--help"}},
		{args: "link", link: true},
		{args: "link --without api", bad: true},
		{args: "part", bad: true},
		{args: "part kitchen", bad: true},
		{args: "--without", bad: true},
		{args: "--without kitchen", bad: true},
		{args: "part broker --without gateway", bad: true},
	} {
		c, rest, err := parse(strings.Fields(tc.args))
		if tc.bad != (err != nil) || err == nil && (c.part != tc.part || c.link != tc.link || !slices.Equal(c.without, tc.without) || !slices.Equal(rest, tc.rest)) {
			t.Errorf("%q: %+v, %v, %v", tc.args, c, rest, err)
		}
	}
}

func TestEveryPartEndsInOrder(t *testing.T) {
	if all := parts(); len(all) != 10 || all[0] != partDevices || all[len(all)-1] != partRedis {
		t.Errorf("%v", all)
	}
}

func TestManual(t *testing.T) {
	var out strings.Builder
	if code := run.Main("standalone", about, []string{"--help"}, &out, &Config{}, call{}.run); code != 0 {
		t.Fatal(code)
	}
	for _, want := range []string{"WASMBED_DIR", "WASMBED_LISTEN_TLS", "WASMBED_LISTEN_DASHBOARD", "REDIS_URL", "EMULATION", "--without", "part NAME"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the manual does not have %s", want)
		}
	}
}

func TestAdvertised(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:8081": "localhost:8081", ":8081": "localhost:8081", "0.0.0.0:1": "localhost:1", "[::1]:7": "localhost:7",
		"192.0.2.7:8081": "192.0.2.7:8081", "gw.example:8081": "gw.example:8081",
	} {
		if got := (&Config{}).advertised(listen); got != want {
			t.Errorf("%s: %s, want %s", listen, got, want)
		}
	}
	if got := (&Config{Advertise: "x:1"}).advertised(":8081"); got != "x:1" {
		t.Error(got)
	}
}

func TestPorts(t *testing.T) {
	l, err := bind("thing", "WASMBED_LISTEN_THING", "127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	taken := l.Addr().String()
	if _, err := bind("thing", "WASMBED_LISTEN_THING", taken, ""); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "WASMBED_LISTEN_THING") {
		t.Errorf("a busy port: %v", err)
	}
	if other, err := bind("thing", "V", "127.0.0.1:0", taken); err != nil || other.Addr().String() == taken {
		t.Errorf("with the last port taken: %v", err)
	} else {
		other.Close()
	}
	l.Close()
	again, err := bind("thing", "V", "127.0.0.1:0", taken)
	if err != nil || again.Addr().String() != taken {
		t.Errorf("with the last port free: %v, %v", again, err)
	}
	again.Close()
	if got, err := reserve("thing", "V", "127.0.0.1:0", taken); err != nil || got != taken {
		t.Errorf("reserved %s, %v", got, err)
	}
	if got := withPort("localhost:0", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5}); got != "localhost:5" {
		t.Error(got)
	}
}

func TestStateFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s, err := openState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openState(dir); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "runs in") {
		t.Errorf("a second one: %v", err)
	}
	want := endpoints{API: "a:1", Redis: "redis://x"}
	if err := s.saveEndpoints(want); err != nil {
		t.Fatal(err)
	}
	if got := s.loadEndpoints(); got != want {
		t.Errorf("got %+v", got)
	}
	if err := os.WriteFile(s.path(endpointsFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := s.loadEndpoints(); got != (endpoints{}) {
		t.Errorf("a broken file: %+v", got)
	}
	s.Close()
	again, err := openState(dir)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openState(file); !errs.Is(err, errs.Invalid) {
		t.Errorf("a file for a folder: %v", err)
	}
}

func discard() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// TestChild: a child that dies is started again, one that never starts is an error with its last words, and the end
// is SIGTERM, then SIGKILL.
func TestChild(t *testing.T) {
	st := &state{dir: t.TempDir()}
	if err := os.MkdirAll(st.path("log"), 0o700); err != nil {
		t.Fatal(err)
	}
	shell := func(script string) func() *exec.Cmd {
		return func() *exec.Cmd { return exec.Command("/bin/sh", "-c", script) }
	}
	sp := newSpawner()
	bad := &child{name: "bad", command: shell("echo because >&2; exit 3"), ready: firstLine(func(string) error { return nil }), log: discard(), state: st, spawn: sp}
	if err := bad.run(t.Context(), func() {}); err == nil || !strings.Contains(err.Error(), "bad did not start") || !strings.Contains(err.Error(), "because") {
		t.Errorf("got %v", err)
	}

	var starts atomic.Int32
	flaky := &child{name: "flaky", log: discard(), state: st, spawn: sp, grace: time.Second, command: func() *exec.Cmd {
		starts.Add(1)
		return exec.Command("/bin/sh", "-c", "echo up; exit 1")
	}, ready: firstLine(func(string) error { return nil })}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	up := make(chan struct{})
	go func() { done <- flaky.run(ctx, func() { close(up) }) }()
	<-up
	for starts.Load() < 2 {
		if len(done) > 0 {
			t.Fatal("it gave up")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}

	// It says that it is ready when its trap is set, and ignores SIGTERM.
	stubborn := &child{name: "stubborn", command: shell("trap '' TERM; echo up; while :; do sleep 1; done"), ready: firstLine(func(string) error { return nil }),
		grace: 50 * time.Millisecond, log: discard(), state: st, spawn: sp}
	ctx, cancel = context.WithCancel(t.Context())
	up = make(chan struct{})
	go func() { done <- stubborn.run(ctx, func() { close(up) }) }()
	<-up
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRunners: a part that ends by itself is made again, and stop waits until it has ended.
func TestRunners(t *testing.T) {
	r := newRunners(discard())
	served := make(chan int, 10)
	n := 0
	err := r.start(t.Context(), "x", func() (serveFunc, error) {
		n++
		mine := n
		return func(ctx context.Context) error {
			served <- mine
			if mine == 1 {
				return errs.New(errs.Internal, "broken")
			}
			<-ctx.Done()
			return nil
		}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := <-served, <-served; a != 1 || b != 2 {
		t.Errorf("served %d, %d", a, b)
	}
	if !r.stop(time.After(time.Minute), "x", "unknown") || len(r.names()) != 0 {
		t.Error("it did not stop")
	}
	if err := r.start(t.Context(), "y", func() (serveFunc, error) { return nil, errs.New(errs.Invalid, "no") }); !errs.Is(err, errs.Invalid) {
		t.Errorf("got %v", err)
	}
}
