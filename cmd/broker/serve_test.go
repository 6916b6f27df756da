package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kelseyhightower/envconfig"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/run"
	"wasmbed.io/wasmbed/internal/testredis"
)

// log is a writer that can be read meanwhile.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *log) find(re string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := regexp.MustCompile(re).FindStringSubmatch(l.b.String()); m != nil {
		return m[1]
	}
	return ""
}

func config(t *testing.T) *Config {
	t.Helper()
	var cfg Config
	if err := envconfig.Process("WASMBED", &cfg); err != nil {
		t.Fatal(err)
	}
	cfg.Listen = "127.0.0.1:0"
	cfg.Triggers = "../../config/knative/triggers"
	return &cfg
}

// The command with the Triggers that ship, from post to function, and its end.
func TestServe(t *testing.T) {
	got := make(chan string, 10)
	functions := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.URL.Path + " " + r.Header.Get("Ce-Id") }))
	defer functions.Close()
	cfg := config(t)
	cfg.RedisURL, cfg.FunctionsURL = testredis.Start(t).URL, functions.URL
	var l log
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, cfg, slog.New(slog.NewTextHandler(&l, nil))) }()
	var url string
	for deadline := time.Now().Add(20 * time.Second); url == ""; url = l.find(`broker listens" url=(\S+)`) {
		if time.Now().After(deadline) {
			t.Fatal("does not listen")
		}
		time.Sleep(time.Millisecond)
	}
	e, err := event.New(event.RolloutFailed, "/wasmbed/functions/deploy", "plant/vibration", "1", event.Rollout{Namespace: "plant", Application: "vibration"})
	if err != nil {
		t.Fatal(err)
	}
	if err := event.NewSink(url, nil).Post(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	// Whoever else hears everything, the function of this event's own Trigger gets it once.
	for to := <-got; to != "/rollback 1"; to = <-got {
		if to != "/webhook 1" {
			t.Error(to)
		}
	}
	resp, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if !strings.Contains(string(body), "wasmbed_broker_events_accepted_total 1") {
		t.Errorf("%s", body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestServeRefuses(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"redis":      func(c *Config) { c.RedisURL = "http://x" },
		"triggers":   func(c *Config) { c.Triggers = "nowhere" },
		"kubeconfig": func(c *Config) { c.SourceKubeconfig = "nowhere" },
		"listen":     func(c *Config) { c.Listen = "127.0.0.1:99999" },
	} {
		cfg := config(t)
		cfg.RedisURL = "redis://127.0.0.1:1"
		cfg.Grace = time.Millisecond
		change(cfg)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		err := serve(ctx, cfg, slog.New(slog.DiscardHandler))
		cancel()
		if c := errs.CodeOf(err); c != errs.Invalid && c != errs.NotFound && c != errs.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestManual(t *testing.T) {
	var out bytes.Buffer
	run.Usage(&out, "broker", "about", &Config{})
	for _, want := range []string{"WASMBED_REDIS_URL", "WASMBED_LISTEN", "WASMBED_TRIGGERS", "WASMBED_FUNCTIONS_URL", "WASMBED_SOURCE_KUBECONFIG"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is not in the manual:\n%s", want, out.String())
		}
	}
}
