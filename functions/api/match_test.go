package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
)

// ask is do with more headers.
func (h *house) ask(method, path, body string, head map[string]string) (int, http.Header, string) {
	h.t.Helper()
	req, err := http.NewRequest(method, h.url+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer admin")
	for k, v := range head {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := resp.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return resp.StatusCode, resp.Header, b.String()
		}
	}
}

// TestWritesToWhatWasSeen: on every kind, PUT, PATCH and DELETE of another version than the caller names are refused, and
// every answer with an object names its version.
func TestWritesToWhatWasSeen(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	meta := metav1.ObjectMeta{Namespace: "a", Name: "x"}
	secret := `"secret":"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="`
	for _, c := range []struct {
		kind   string
		create func() error
		put    string // body; "": none
		patch  string
	}{
		{"devices", func() error { _, err := h.client.Devices.Create(ctx, &v1alpha1.Device{ObjectMeta: meta}); return err }, "", `{"spec":{"hold":true}}`},
		{"applications", func() error {
			_, err := h.client.Applications.Create(ctx, &v1alpha1.Application{ObjectMeta: meta})
			return err
		}, `{"spec":{"module":{"name":"m"},"targets":{"all":true}}}`, `{"spec":{"paused":true}}`},
		{"gateways", func() error { _, err := h.client.Gateways.Create(ctx, &v1alpha1.Gateway{ObjectMeta: meta}); return err }, `{"spec":{"address":"h:1"}}`, `{"spec":{"disabled":true}}`},
		{"modules", func() error { _, err := h.client.Modules.Create(ctx, &v1alpha1.Module{ObjectMeta: meta}); return err }, "", ""},
		{"webhooks", func() error {
			code, _, body := h.do("POST", "/api/v1/namespaces/a/webhooks", "admin", `{"metadata":{"name":"x"},"spec":{"url":"https://example.com/"},`+secret+`}`)
			if code != 201 {
				t.Fatal(body)
			}
			return nil
		}, `{"spec":{"url":"https://example.com/2"}}`, `{"spec":{"paused":true}}`},
		{"webhooksources", func() error {
			code, _, body := h.do("POST", "/api/v1/namespaces/a/webhooksources", "admin", `{"metadata":{"name":"x"},"spec":{"rules":[]},`+secret+`}`)
			if code != 201 {
				t.Fatal(body)
			}
			return nil
		}, `{"spec":{"rules":[]}}`, `{"metadata":{"labels":{"a":"b"}}}`},
	} {
		if err := c.create(); err != nil {
			t.Fatal(err)
		}
		path := "/api/v1/namespaces/a/" + c.kind + "/x"
		etag := func(head http.Header) string {
			t.Helper()
			if head.Get("ETag") == "" {
				t.Errorf("%s: no ETag", c.kind)
			}
			return head.Get("ETag")
		}
		_, head, _ := h.ask("GET", path, "", nil)
		seen := etag(head)
		for method, body := range map[string]string{"PUT": c.put, "PATCH": c.patch} {
			if body == "" {
				continue
			}
			if code, _, b := h.ask(method, path, body, map[string]string{"If-Match": `"other"`}); code != 409 || !strings.Contains(b, "conflict") {
				t.Errorf("%s %s of another version: %d %s", method, c.kind, code, b)
			}
			code, head, b := h.ask(method, path, body, map[string]string{"If-Match": `"zzz", ` + seen})
			if code != 200 {
				t.Fatalf("%s %s: %d %s", method, c.kind, code, b)
			}
			seen = etag(head)
		}
		if code, _, b := h.ask("DELETE", path, "", map[string]string{"If-Match": `"other"`}); code != 409 {
			t.Errorf("DELETE %s of another version: %d %s", c.kind, code, b)
		}
		if code, _, b := h.ask("DELETE", path, "", map[string]string{"If-Match": seen}); code != 202 {
			t.Errorf("DELETE %s: %d %s", c.kind, code, b)
		}
		if c.put != "" {
			if code, _, b := h.ask("PUT", path, c.put, map[string]string{"If-Match": seen}); code != 409 && code != 404 {
				t.Errorf("PUT of what is gone: %d %s", code, b)
			}
		}
	}
	if _, err := h.client.Revisions.Create(ctx, &v1alpha1.Revision{ObjectMeta: meta}); err != nil {
		t.Fatal(err)
	}
	if code, head, _ := h.ask("GET", "/api/v1/namespaces/a/revisions/x", "", nil); code != 200 || head.Get("ETag") == "" {
		t.Error(code, head)
	}
}

func TestFields(t *testing.T) {
	h := newHouse(t)
	h.fleet(3)
	h.device("d-0001")
	for _, c := range []struct{ path, want string }{
		{"/devices/d-0001?fields=object.metadata.name,view.device", `{"object":{"metadata":{"name":"d-0001"}},"view":{"device":{"name":"d-0001","namespace":"a"}}}`},
		{"/devices?fields=device.name&limit=2", `{"items":[{"device":{"name":"d-0000"}},{"device":{"name":"d-0001"}}],"next":"d-0001"}`},
		{"/devices?fields=device.name,device&limit=1", `{"items":[{"device":{"name":"d-0000","namespace":"a"}}],"next":"d-0000"}`},
		{"/devices?fields=nowhere.at.all&limit=1", `{"items":[{}],"next":"d-0000"}`},
	} {
		code, _, body := h.do("GET", "/api/v1/namespaces/a"+c.path, "admin", "")
		var got, want any
		if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 {
			t.Fatalf("%s: %d %s", c.path, code, body)
		}
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		g, _ := json.Marshal(got)
		w, _ := json.Marshal(want)
		if string(g) != string(w) {
			t.Errorf("%s: %s, want %s", c.path, g, w)
		}
	}
	for _, bad := range []string{"a..b", "a.", "%20", strings.Repeat("a,", 80) + "a", strings.Repeat("a", 3000)} {
		if code, _, body := h.do("GET", "/api/v1/namespaces/a/devices?fields="+bad, "admin", ""); code != 400 {
			t.Errorf("%s: %d %s", bad, code, body)
		}
	}
	// A refusal is whole.
	if _, _, body := h.do("GET", "/api/v1/namespaces/a/devices/none?fields=object", "admin", ""); !strings.Contains(body, "detail") {
		t.Error(body)
	}
}

func FuzzFields(f *testing.F) {
	f.Add("a,b.c", `{"items":[{"a":1,"b":{"c":[{"d":1}]}}]}`)
	f.Add("a.b.c", `{"a":{"b":{"c":null}}}`)
	f.Fuzz(func(t *testing.T, text, answer string) {
		req, err := http.NewRequest("GET", "http://x/", nil)
		if err != nil {
			t.Fatal(err)
		}
		q := req.URL.Query()
		q.Set("fields", text)
		req.URL.RawQuery = q.Encode()
		sel, err := readFields(req)
		if err != nil || sel == nil {
			return
		}
		out, err := sel.of([]byte(answer))
		if err == nil && !json.Valid(out) {
			t.Fatalf("%s", out)
		}
	})
}

// TestDisconnect: the answer comes when the session has ended, and says so when it does not end.
func TestDisconnect(t *testing.T) {
	h := newHouse(t)
	h.device("d")
	const path = "/api/v1/namespaces/a/devices/d/disconnect"
	if code, _, body := h.do("POST", path, "admin", ""); code != 409 {
		t.Fatalf("nobody holds it: %d %s", code, body)
	}
	d := event.Device{Namespace: "a", Name: "d"}
	epoch, _, err := h.api.Affinity.Acquire(t.Context(), d, "gw-0", 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	sub, err := h.api.Affinity.Subscribe(t.Context(), "gw-0")
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	go func() { // a gateway
		for w := range sub.C() {
			if w.Device == d && w.Epoch == epoch && w.RetryAfter.Seconds() == 90 {
				if err := h.api.Affinity.Release(t.Context(), d, w.Epoch); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	code, _, body := h.do("POST", path, "admin", `{"retryAfter":"90s"}`)
	var ans disconnectAnswer
	if err := json.Unmarshal([]byte(body), &ans); err != nil || code != 200 || ans.Epoch != epoch || ans.Instance != "gw-0" {
		t.Fatalf("%d %s", code, body)
	}
	if es := h.posted.of(event.AuditRecorded); len(es) != 1 {
		t.Errorf("%d audit events", len(es))
	}
	for _, bad := range []string{`{"retryAfter":"25h"}`, `{"retryAfter":"-1s"}`, `{"retryAfter":"x"}`, `{"after":1}`} {
		if code, _, body := h.do("POST", path, "admin", bad); code != 400 {
			t.Errorf("%s: %d %s", bad, code, body)
		}
	}
}

func TestGatewaySwitch(t *testing.T) {
	h := newHouse(t)
	if _, err := h.client.Gateways.Create(t.Context(), &v1alpha1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "g"}}); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"disable", "disable", "enable", "enable"} {
		if code, _, body := h.do("POST", "/api/v1/namespaces/a/gateways/g/"+verb, "admin", ""); code != 200 {
			t.Fatalf("%s: %d %s", verb, code, body)
		}
		if g, err := h.client.Gateways.Get(t.Context(), "a", "g"); err != nil || g.Spec.Disabled != (verb == "disable") {
			t.Errorf("after %s: %+v %v", verb, g.Spec, err)
		}
	}
	if n := len(h.posted.of(event.AuditRecorded)); n != 2 {
		t.Errorf("%d audit events of two changes", n)
	}
}

// TestThePage: it comes from here alone, and nothing else may be in it.
func TestThePage(t *testing.T) {
	h := newHouse(t)
	for path, kind := range map[string]string{"": "text/html", "/page.js": "text/javascript", "/page.css": "text/css"} {
		code, head, body := h.do("GET", "/api/v1/docs"+path, "", "")
		csp := head.Get("Content-Security-Policy")
		if code != 200 || !strings.HasPrefix(head.Get("Content-Type"), kind) || !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %d %v", path, code, head)
		}
		for _, bad := range []string{"http://", "https://", "innerHTML", "eval(", "onclick=\"", "style=\""} {
			if strings.Contains(body, bad) {
				t.Errorf("%s has %s", path, bad)
			}
		}
	}
}
