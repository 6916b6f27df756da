package main

import (
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestCodeLogsInOnceAndSoon(t *testing.T) {
	s := &state{dir: t.TempDir()}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	code, err := s.makeCode(now)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(s.codeFile(code)); err != nil || fi.Mode().Perm() != 0o600 || strings.Contains(s.codeFile(code), code) {
		t.Errorf("the code's file: %v %v", fi, err)
	}
	for _, wrong := range []string{"", "x", code + "x", "../token", strings.Repeat("a", 1<<12)} {
		if s.takeCode(wrong, now) {
			t.Errorf("%q logs in", wrong)
		}
	}
	var in atomic.Int32
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if s.takeCode(code, now.Add(codeLife-time.Second)) {
				in.Add(1)
			}
		})
	}
	all.Wait()
	if in.Load() != 1 {
		t.Errorf("%d got in with one code", in.Load())
	}
	late, err := s.makeCode(now)
	if err != nil {
		t.Fatal(err)
	}
	if s.takeCode(late, now.Add(codeLife)) {
		t.Error("a code logs in for ever")
	}
	over, err := s.makeCode(now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.makeCode(now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.codeFile(over)); err == nil {
		t.Error("codes that are over stay")
	}
}

func TestPrintLink(t *testing.T) {
	s := &state{dir: t.TempDir()}
	now := time.Now()
	if err := printLink(s.dir, &strings.Builder{}, now); err == nil {
		t.Error("a link into nothing")
	}
	if err := s.saveEndpoints(endpoints{Dashboard: "127.0.0.1:3000"}); err != nil {
		t.Fatal(err)
	}
	if err := s.write(adminTokenFile, []byte("secret\n")); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := printLink(s.dir, &out, now); err != nil {
		t.Fatal(err)
	}
	code, ok := strings.CutPrefix(strings.TrimSpace(out.String()), "http://127.0.0.1:3000/#code=")
	if !ok || strings.Contains(out.String(), "secret") || !s.takeCode(code, now) {
		t.Errorf("the link: %q", out.String())
	}
}
