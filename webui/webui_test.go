package webui

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testredis"
)

func page(t *testing.T) (*httptest.Server, *ledger.Ledger, *testredis.Server) {
	t.Helper()
	redis := testredis.Start(t)
	rdb := redis.Client(t)
	l := ledger.New(rdb, ledger.Options{})
	s, err := New(Deps{Ledger: l, Affinity: affinity.New(rdb, l.Keys(), affinity.Options{}), Token: "secret",
		Recents: func(_ context.Context, from string, _ int) ([]Recent, string, error) {
			if from != "" {
				return nil, from, nil
			}
			return []Recent{{Time: time.Now(), Type: "io.wasmbed.device.connected.v1", Subject: "default/<b>d1</b>"}}, "1", nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return srv, l, redis
}

func get(t *testing.T, c *http.Client, url string) (int, string, http.Header) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar}
}

func TestTheDoorHasALock(t *testing.T) {
	if _, err := New(Deps{}); !errs.Is(err, errs.Invalid) {
		t.Errorf("a page without a token: %v", err)
	}
	srv, _, _ := page(t)
	for _, path := range []string{"/", "/fragment", "/devices/default/d1", "/?token=wrong"} {
		if code, body, _ := get(t, browser(t), srv.URL+path); code != 401 || strings.Contains(body, "Devices") {
			t.Errorf("%s without the token: %d", path, code)
		}
	}
	c := browser(t)
	code, _, h := get(t, c, srv.URL+"/?token=secret")
	if code != 200 || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("with the token: %d, policy %q", code, h.Get("Content-Security-Policy"))
	}
	if code, _, _ := get(t, c, srv.URL+"/"); code != 200 {
		t.Errorf("with the cookie: %d", code)
	}
}

func TestThePageSaysWhatIsSo(t *testing.T) {
	srv, l, redis := page(t)
	ctx := context.Background()
	c := browser(t)
	if _, body, _ := get(t, c, srv.URL+"/?token=secret"); !strings.Contains(body, "no gateway is up") || !strings.Contains(body, "No device has enrolled") {
		t.Errorf("an empty platform is not said to be empty:\n%s", body)
	}
	era, _, err := l.Era(ctx)
	if err != nil {
		t.Fatal(err)
	}
	d := event.Device{Namespace: "default", Name: "d1"}
	app := ledger.App{Namespace: "default", Name: "hello"}
	if _, err := l.SetTarget(ctx, app, ledger.Target{Sequence: 1, Revision: "hello-1", Digest: "sha256:" + strings.Repeat("0", 64), State: ledger.StateRunning}, ledger.Selection{All: true}); err != nil {
		t.Fatal(err)
	}
	if err := l.PutDevice(ctx, d, ledger.DeviceFacts{Board: "Mps2An385", Approved: true}, []ledger.App{app}); err != nil {
		t.Fatal(err)
	}
	if _, body, _ := get(t, c, srv.URL+"/"); !strings.Contains(body, "d1 is not connected") || !strings.Contains(body, "0/1") {
		t.Errorf("a device that never connected looks connected:\n%s", body)
	}
	if _, err := l.Connect(ctx, event.Connected{Device: d, Gateway: "gw", Instance: "i", Epoch: 1, Era: era, Board: "Mps2An385", Firmware: "1.0", Time: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Report(ctx, event.Reported{Device: d, Epoch: 1, Era: era, Version: 1, Full: true, Time: time.Now(),
		Apps: map[string]event.AppState{"hello": {State: "Running", Revision: "hello-1", Attempt: 1, Running: "hello-1", Confirmed: true}}}); err != nil {
		t.Fatal(err)
	}
	_, body, _ := get(t, c, srv.URL+"/fragment")
	for _, want := range []string{"1/1", "ready", "hello-1", "confirmed", "online", "io.wasmbed.device.connected.v1", "&lt;b&gt;d1"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q:\n%s", want, body)
		}
	}
	if _, err := l.Report(ctx, event.Reported{Device: d, Epoch: 1, Era: era, Version: 2, Time: time.Now(),
		Apps: map[string]event.AppState{"hello": {State: "RolledBack", Revision: "hello-2", Attempt: 2, Running: "hello-1", Reason: "TrapLoop"}}}); err != nil {
		t.Fatal(err)
	}
	if _, body, _ := get(t, c, srv.URL+"/fragment"); strings.Contains(body, "All is well") || !strings.Contains(body, "gave hello-2 up: TrapLoop") || !strings.Contains(body, "revision hello-2 was given up") {
		t.Errorf("a revision that was given up is not said:\n%s", body)
	}
	if code, body, _ := get(t, c, srv.URL+"/devices/default/d1"); code != 200 || !strings.Contains(body, "hello-1") {
		t.Errorf("the device's page: %d\n%s", code, body)
	}
	if code, _, _ := get(t, c, srv.URL+"/devices/default/none"); code != 404 {
		t.Errorf("a device that is not: %d", code)
	}
	redis.Kill()
	if code, body, _ := get(t, c, srv.URL+"/"); code != 200 || !strings.Contains(body, "cannot be read") {
		t.Errorf("without Redis: %d\n%s", code, body)
	}
}
