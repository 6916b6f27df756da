package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
)

const devicesPath = "/api/v1/namespaces/a/devices"

func (h *house) put(name string, e *v1alpha1.Emulation) {
	h.t.Helper()
	_, err := h.client.Devices.Create(h.t.Context(), &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name}, Spec: v1alpha1.DeviceSpec{Board: "Mps2An385", Emulation: e}})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) refused(method, path, body string, status int, say string) {
	h.t.Helper()
	got, _, b := h.do(method, path, "admin", body)
	var p Problem
	if err := json.Unmarshal([]byte(b), &p); err != nil || got != status || !strings.Contains(p.Detail+" "+p.Mend, say) {
		h.t.Errorf("%s %s: %d %s, want %d …%s…", method, path, got, b, status, say)
	}
}

func TestPower(t *testing.T) {
	h := newHouse(t)
	h.put("emu", &v1alpha1.Emulation{Backend: "qemu"})
	h.put("real", nil)
	for i, c := range []struct {
		verb string
		want v1alpha1.Emulation
	}{
		{"reset", v1alpha1.Emulation{Backend: "qemu", State: "Running", Resets: 1}},
		{"reset", v1alpha1.Emulation{Backend: "qemu", State: "Running", Resets: 2}},
		{"power-cut", v1alpha1.Emulation{Backend: "qemu", State: "Running", Resets: 2, PowerCuts: 1}},
		{"stop", v1alpha1.Emulation{Backend: "qemu", State: "Stopped", Resets: 2, PowerCuts: 1}},
		{"stop", v1alpha1.Emulation{Backend: "qemu", State: "Stopped", Resets: 2, PowerCuts: 1}},
		{"start", v1alpha1.Emulation{Backend: "qemu", State: "Running", Resets: 2, PowerCuts: 1}},
	} {
		got, _, b := h.do("POST", devicesPath+"/emu/"+c.verb, "admin", "")
		var d v1alpha1.Device
		if err := json.Unmarshal([]byte(b), &d); err != nil || got != 200 || *d.Spec.Emulation != c.want {
			t.Errorf("%d %s: %d %s, want %+v", i, c.verb, got, b, c.want)
		}
		if o, err := h.client.Devices.Get(t.Context(), "a", "emu"); err != nil || *o.Spec.Emulation != c.want {
			t.Errorf("%d %s: %+v, %v", i, c.verb, o.Spec.Emulation, err)
		}
	}
	h.do("POST", devicesPath+"/emu/stop", "admin", "")
	h.refused("POST", devicesPath+"/emu/reset", "", 409, "is stopped")
	h.refused("POST", devicesPath+"/emu/power-cut", "", 409, "wasmbed device start emu")
	for _, verb := range []string{"start", "stop", "reset", "power-cut"} {
		h.refused("POST", devicesPath+"/real/"+verb, "", 501, "is not emulated")
		h.refused("POST", devicesPath+"/none/"+verb, "", 404, "none")
	}
}

// Everybody's press of the button counts.
func TestResetsOfManyAtOnce(t *testing.T) {
	h := newHouse(t)
	h.put("emu", &v1alpha1.Emulation{Backend: "qemu"})
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for range 4 {
		wg.Go(func() {
			got, _, b := h.do("POST", devicesPath+"/emu/reset", "admin", "")
			if got != 200 && got != 409 {
				t.Errorf("%d %s", got, b)
			}
			if got == 200 {
				mu.Lock()
				done++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if d, err := h.client.Devices.Get(t.Context(), "a", "emu"); err != nil || d.Spec.Emulation.Resets != int64(done) || done == 0 {
		t.Errorf("%+v after %d resets, %v", d.Spec.Emulation, done, err)
	}
}

func TestDevicesAreMadeAndDeleted(t *testing.T) {
	h := newHouse(t)
	h.api.Boards = []Board{{Name: "Mps2An385", QEMU: "mps2-an385", Truth: "run"}, {Name: "Nrf52840DK", Renode: "cpus/nrf52840.repl"}}
	body := func(name, spec string) string { return fmt.Sprintf(`{"metadata":{"name":%q},"spec":%s}`, name, spec) }
	good := body("new", `{"board":"Mps2An385","approval":"Approved","emulation":{"backend":"qemu","transport":"Serial"}}`)
	if got, _, b := h.do("POST", devicesPath, "admin", good); got != 201 {
		t.Fatalf("%d %s", got, b)
	}
	d, err := h.client.Devices.Get(t.Context(), "a", "new")
	if err != nil || d.Spec.Emulation.Transport != "Serial" || d.Spec.Approval != v1alpha1.ApprovalApproved {
		t.Errorf("%+v, %v", d, err)
	}
	h.refused("POST", devicesPath, good, 409, "new")
	h.refused("POST", devicesPath, body("x", `{"board":"Mps2An386","emulation":{"backend":"qemu"}}`), 400, `no board "Mps2An386"`)
	h.refused("POST", devicesPath, body("x", `{"board":"Mps2An385","emulation":{"backend":"renode"}}`), 400, "not known to backend renode")
	h.refused("POST", devicesPath, body("x", `{"board":"Nrf52840DK","emulation":{"backend":"qemu"}}`), 400, "not known to backend qemu")
	h.refused("POST", devicesPath, body("", `{"board":"Mps2An385"}`), 400, "metadata.name")
	h.refused("POST", devicesPath, `{"metadata":{"name":"x","namespace":"b"}}`, 400, "the path says a")
	h.refused("POST", devicesPath, `{"spek":{}}`, 400, "spek")
	if got, _, b := h.do("POST", devicesPath, "admin", body("real", `{"board":"Anything"}`)); got != 201 {
		t.Errorf("a real board of an unknown type: %d %s", got, b)
	}
	if got, _, b := h.do("DELETE", devicesPath+"/new", "admin", ""); got != 202 {
		t.Errorf("%d %s", got, b)
	}
	h.refused("DELETE", devicesPath+"/new", "", 404, "new")

	got, _, b := h.do("GET", "/api/v1/boards", "a-reader", "")
	var page listAnswer[Board]
	if err := json.Unmarshal([]byte(b), &page); err != nil || got != 200 || len(page.Items) != 2 || page.Items[0].Truth != "run" {
		t.Errorf("%d %s %v", got, b, err)
	}
}

// provisioner is the console's other end, over HTTP.
func provisioner(t *testing.T, h http.HandlerFunc) Console {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		h(w, r)
	}))
	t.Cleanup(s.Close)
	c, err := NewProvisionerConsole(s.URL, "secret")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConsole(t *testing.T) {
	h := newHouse(t)
	h.put("emu", &v1alpha1.Emulation{Backend: "qemu"})
	h.put("real", nil)
	path := devicesPath + "/emu/console"
	h.refused("GET", path, "", 503, "no provisioner")
	h.refused("GET", devicesPath+"/real/console", "", 501, "not emulated")
	var asked string
	h.api.Console = provisioner(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Path + "?" + r.URL.RawQuery
		fmt.Fprint(w, "*** Booting\n\x1b[1mhello\n")
	})
	got, head, b := h.do("GET", path+"?tail=7", "a-reader", "")
	if got != 200 || b != "*** Booting\n\x1b[1mhello\n" || asked != "/console/a/emu?tail=7" || head.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d %q %q %v", got, b, asked, head)
	}
	h.do("GET", path, "admin", "")
	if asked != "/console/a/emu?" {
		t.Error(asked)
	}
	h.refused("GET", path+"?tail=-1", "", 400, "tail")
	h.refused("GET", path+"?tail=1000000", "", 400, "tail")
	h.refused("GET", devicesPath+"/none/console", "", 404, "none")

	// What is wrong with the provisioner is said; a flood ends at the bound.
	for status, want := range map[int]int{404: 404, 429: 429, 401: 503, 500: 503, 302: 503} {
		h.api.Console = provisioner(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "because", status) })
		if got, _, b := h.do("GET", path, "admin", ""); got != want {
			t.Errorf("%d became %d %s", status, got, b)
		}
	}
	h.api.Console = provisioner(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 4 {
			if _, err := w.Write(make([]byte, maxConsolePage/2)); err != nil {
				return
			}
		}
	})
	if got, _, b := h.do("GET", path, "admin", ""); got != 200 || len(b) != maxConsolePage {
		t.Errorf("a flood: %d, %d bytes", got, len(b))
	}
	gone, err := NewProvisionerConsole("http://127.0.0.1:1", "secret")
	if err != nil {
		t.Fatal(err)
	}
	h.api.Console = gone
	h.refused("GET", path, "", 503, "does not answer")
	if gone.Health(t.Context()) == nil {
		t.Error("nobody there, and it is well")
	}
}

// What the board writes comes at once, byte by byte, and the provisioner hears that the reader left.
func TestConsoleFollows(t *testing.T) {
	h := newHouse(t)
	h.put("emu", &v1alpha1.Emulation{Backend: "qemu"})
	lines, left := make(chan string), make(chan struct{})
	h.api.Console = provisioner(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("follow") != "true" {
			t.Error(r.URL)
		}
		rc := http.NewResponseController(w)
		_ = rc.Flush()
		for {
			select {
			case l := <-lines:
				fmt.Fprint(w, l)
				_ = rc.Flush()
			case <-r.Context().Done():
				close(left)
				return
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", h.url+devicesPath+"/emu/console?follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer admin")
	resp, err := http.DefaultClient.Do(req) // answers before the board has said anything
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(resp.Body)
	for _, say := range []string{"one\n", "two\n"} {
		lines <- say
		if got, err := r.ReadString('\n'); err != nil || got != say {
			t.Fatalf("%q, %v", got, err)
		}
	}
	cancel()
	if _, err := io.Copy(io.Discard, r); err == nil {
		t.Error("the stream ended without an error")
	}
	resp.Body.Close()
	select {
	case <-left:
	case <-time.After(20 * time.Second):
		t.Error("the provisioner still writes to nobody")
	}

	// No more than so many.
	for range maxConsoles {
		h.api.consoles <- struct{}{}
	}
	h.refused("GET", devicesPath+"/emu/console?follow=true", "", 429, "followed already")
}
