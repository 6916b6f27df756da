package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/hook"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
)

// TestPermission: a receiver's yes is taken at the URL that it was shown, and nowhere else.
func TestPermission(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "key"}, Type: v1alpha1.SecretTypeWebhook, Data: map[string][]byte{"secret": []byte(hookSecret)}}
	if _, err := h.client.Secrets.Create(ctx, secret); err != nil {
		t.Fatal(err)
	}
	o, err := h.client.Webhooks.Create(ctx, &v1alpha1.Webhook{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "mes"}, Spec: v1alpha1.WebhookSpec{URL: "https://mes.example/in", SecretRef: v1alpha1.SecretReference{Name: "key"}}})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := hook.ReadKeys(secret)
	if err != nil {
		t.Fatal(err)
	}
	token := keys.Permission("a", "mes", string(o.UID), o.Spec.URL)
	if token == "" || keys.Permission("a", "mes", string(o.UID), o.Spec.URL+"x") == token {
		t.Fatalf("token %q", token)
	}
	ask := func(method, path, rate string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, method, h.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if rate != "" {
			r.Header.Set("WebHook-Allowed-Rate", rate)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for _, path := range []string{
		"/hooks/a/mes/permit/x", "/hooks/a/mes/permit/" + token[:len(token)-1], "/hooks/a/other/permit/" + token, "/hooks/b/mes/permit/" + token, "/hooks/a/M_S/permit/" + token,
		"/hooks/a/mes/permit/" + keys.Permission("a", "mes", "another", o.Spec.URL),
	} {
		if code := ask("POST", path, ""); code != 404 {
			t.Errorf("%s: %d", path, code)
		}
	}
	if n := len(h.posted.of(event.WebhookPermitted)); n != 0 {
		t.Fatalf("%d permissions", n)
	}
	for i, c := range []struct {
		method, rate string
		want         int
	}{{"POST", "120", 120}, {"GET", "", 0}, {"POST", "*", 0}, {"POST", "-5", 0}} {
		if code := ask(c.method, "/hooks/a/mes/permit/"+token, c.rate); code != 200 {
			t.Fatalf("%+v: %d", c, code)
		}
		got := h.posted.of(event.WebhookPermitted)
		p, err := event.Data[event.WebhookPermission](got[len(got)-1])
		if err != nil || len(got) != i+1 || p.Namespace != "a" || p.Webhook != "mes" || p.URL != event.DeriveID(o.Spec.URL) || p.Rate != c.want || p.By == "" {
			t.Errorf("%+v %v", p, err)
		}
	}
	// The webhook goes elsewhere now: the old yes is none for that.
	o.Spec.URL = "https://elsewhere.example/"
	if _, err := h.client.Webhooks.Update(ctx, o); err != nil {
		t.Fatal(err)
	}
	if code := ask("POST", "/hooks/a/mes/permit/"+token, ""); code != 404 {
		t.Errorf("for a URL that is no more: %d", code)
	}
}

// TestHooksAreNoted: what was taken and what was refused is where function webhook finds it; the cause of a wrong proof, too.
func TestHooksAreNoted(t *testing.T) {
	h := newHouse(t)
	h.hook("ci", v1alpha1.WebhookSourceSpec{Rules: []v1alpha1.HookRule{{Type: "com.example.push"}}})
	now, body := time.Now(), `{"x":1}`
	good := signed(t, hookSecret, "msg_1", now, body)
	for range 2 {
		if code, _, text := h.post("/hooks/a/ci", body, good); code != 202 {
			t.Fatalf("%d %s", code, text)
		}
	}
	if code, _, text := h.post("/hooks/a/ci", body, signed(t, hookSecret, "msg_2", now.Add(-time.Hour), body)); code != 401 || strings.Contains(text, "timestamp") {
		t.Errorf("%d %s", code, text)
	}
	s, err := h.ledger.HookSource(t.Context(), ledger.Hook{Namespace: "a", Name: "ci"})
	if err != nil {
		t.Fatal(err)
	}
	var took v1alpha1.HookReceipt
	var refused v1alpha1.HookRefusal
	if err := json.Unmarshal([]byte(s.LastTook), &took); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(s.LastRefused), &refused); err != nil {
		t.Fatal(err)
	}
	if s.Accepted != 2 || s.Refused != 1 || took.Status != "duplicate" || took.Type != "com.example.push" || took.Event == "" || took.Time.IsZero() ||
		refused.Reason != "unauthenticated" || !strings.Contains(refused.Message, "timestamp") || refused.From != "127.0.0.1" {
		t.Errorf("%+v %+v %+v", s, took, refused)
	}
	// One that there is not leaves nothing.
	h.post("/hooks/a/nobody", body, good)
	if s, err := h.ledger.HookSource(t.Context(), ledger.Hook{Namespace: "a", Name: "nobody"}); err != nil || s.Refused != 0 {
		t.Errorf("%+v %v", s, err)
	}
}

// TestRequestsThatChange: the requests of the catalogue that the doors for events take, what they need, and what they refuse.
func TestRequestsThatChange(t *testing.T) {
	for _, c := range []struct {
		typ, data, want string // part of the error; "": taken
	}{
		{event.DeployRequested, `{"application":"x","spec":{"targets":{"all":true}}}`, ""},
		{event.DeployRequested, `{"application":"x","module":"m"}`, ""},
		{event.DeployRequested, `{"application":"x"}`, "module, oci or spec"},
		{event.DeployRequested, `{"application":"x","module":"m","oci":"o"}`, "module, oci or spec"},
		{event.ApplicationActionRequested, `{"application":"x","action":"Stop"}`, ""},
		{event.ApplicationActionRequested, `{"application":"x","action":"Explode"}`, "Stop, Start"},
		{event.ApplicationActionRequested, `{"action":"Stop"}`, "needs application"},
		{event.ApplicationActionRequested, `{"application":"x","action":"Stop","namespace":"b"}`, "namespace b"},
		{event.DeviceActionRequested, `{"devices":["d"],"action":"Approve"}`, ""},
		{event.DeviceActionRequested, `{"devices":["d"],"action":"Delete"}`, "Approve, Reject"},
		{event.DeviceActionRequested, `{"devices":[],"action":"Hold"}`, "0 devices"},
		{event.DeviceActionRequested, `{"devices":["d"],"action":"Hold","all":true}`, "unknown field"},
		{event.WebhookPermitted, `{}`, "not taken from outside"},
		{event.ActionAnswered, `{}`, "not taken from outside"},
	} {
		_, _, err := requestOf(c.typ, json.RawMessage(c.data), "a", "ann")
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %q", c.typ, c.data, err, c.want)
		}
	}
	// By a webhook nobody is admitted.
	h := newHouse(t)
	rule := func(action string) v1alpha1.HookRule {
		return v1alpha1.HookRule{When: []v1alpha1.HookCondition{{Path: "$.do", In: []string{action}}}, Type: event.DeviceActionRequested, Data: map[string]string{"devices": "d-1,d-2", "action": "$.do"}}
	}
	h.hook("dev", v1alpha1.WebhookSourceSpec{Verify: v1alpha1.Verification{Scheme: v1alpha1.SchemeToken, Header: "X-Token"}, Rules: []v1alpha1.HookRule{rule("Hold"), rule("Approve")}})
	for action, want := range map[string]int{"Hold": 202, "Approve": 403} {
		if code, _, text := h.post("/hooks/a/dev", `{"do":"`+action+`"}`, map[string]string{"X-Token": hookSecret}); code != want {
			t.Errorf("%s: %d %s", action, code, text)
		}
	}
	got := h.posted.of(event.DeviceActionRequested)
	if len(got) != 1 {
		t.Fatalf("%d events", len(got))
	}
	if d, err := event.Data[event.DeviceAction](got[0]); err != nil || len(d.Devices) != 2 || d.Action != event.ActionHold || d.By != "hook dev" {
		t.Errorf("%+v %v", d, err)
	}
}
