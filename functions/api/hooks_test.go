package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
)

const hookSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

func (h *house) hook(name string, spec v1alpha1.WebhookSourceSpec) {
	h.t.Helper()
	ctx := h.t.Context()
	spec.SecretRef.Name = "key-" + name
	_, err := h.client.Secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "key-" + name}, Type: v1alpha1.SecretTypeWebhook, Data: map[string][]byte{"secret": []byte(hookSecret), "previous": []byte("the-one-before-that-is-long")}})
	if err == nil {
		_, err = h.client.HookSources.Create(ctx, &v1alpha1.WebhookSource{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name}, Spec: spec})
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) post(path, body string, header map[string]string) (int, hookAnswer, string) {
	h.t.Helper()
	r, err := http.NewRequest("POST", h.url+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	var a hookAnswer
	_ = json.Unmarshal(b, &a) // a problem is none
	return resp.StatusCode, a, string(b)
}

// signed signs with a library that is not ours.
func signed(t *testing.T, secret, id string, at time.Time, body string) map[string]string {
	t.Helper()
	w, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := w.Sign(id, at, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"webhook-id": id, "webhook-timestamp": fmt.Sprint(at.Unix()), "webhook-signature": sig}
}

func github(key, body string) map[string]string {
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte(body))
	return map[string]string{"X-Hub-Signature-256": "sha256=" + hex.EncodeToString(m.Sum(nil)), "X-GitHub-Event": "workflow_run", "Content-Type": "application/json"}
}

var deployRule = v1alpha1.HookRule{Type: event.DeployRequested, Data: map[string]string{"application": "hello", "module": "$.module"}}

// TestStandardHook: a request signed by somebody else's library becomes an event, once; whatever is wrong about it is refused alike.
func TestStandardHook(t *testing.T) {
	h := newHouse(t)
	h.hook("ci", v1alpha1.WebhookSourceSpec{Rules: []v1alpha1.HookRule{deployRule}})
	now, body := time.Now(), `{"module":"m1"}`
	good := signed(t, hookSecret, "msg_1", now, body)
	code, a, text := h.post("/hooks/a/ci", body, good)
	if code != 202 || a.Status != "accepted" || a.Type != event.DeployRequested {
		t.Fatalf("%d %s", code, text)
	}
	got := h.posted.of(event.DeployRequested)
	if len(got) != 1 || got[0].ID() != a.Event || got[0].Source() != "/wasmbed/hooks/a/ci" || event.Namespace(got[0]) != "a" || got[0].Subject() != "a/hello" {
		t.Fatalf("%v", got)
	}
	d, err := event.Data[event.DeployRequest](got[0])
	if err != nil || !reflect.DeepEqual(d, event.DeployRequest{Namespace: "a", Application: "hello", Module: "m1", By: "hook ci"}) {
		t.Errorf("%+v %v", d, err)
	}
	if code, a, _ := h.post("/hooks/a/ci", body, good); code != 202 || a.Status != "duplicate" || len(h.posted.of(event.DeployRequested)) != 1 {
		t.Errorf("replayed: %d %+v", code, a)
	}
	change := func(k, v string) map[string]string {
		m := signed(t, hookSecret, "msg_2", now, body)
		m[k] = v
		return m
	}
	refused := ""
	for what, c := range map[string]struct {
		path, body string
		header     map[string]string
	}{
		"nothing":           {"/hooks/a/ci", body, nil},
		"another body":      {"/hooks/a/ci", `{"module":"evil"}`, good},
		"another id":        {"/hooks/a/ci", body, change("webhook-id", "msg_3")},
		"another time":      {"/hooks/a/ci", body, change("webhook-timestamp", fmt.Sprint(now.Unix()+1))},
		"dots in the id":    {"/hooks/a/ci", body, signed(t, hookSecret, "a.1", now, body)},
		"old":               {"/hooks/a/ci", body, signed(t, hookSecret, "msg_4", now.Add(-6*time.Minute), body)},
		"of tomorrow":       {"/hooks/a/ci", body, signed(t, hookSecret, "msg_5", now.Add(6*time.Minute), body)},
		"another key":       {"/hooks/a/ci", body, signed(t, "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=", "msg_6", now, body)},
		"empty key":         {"/hooks/a/ci", body, signed(t, "whsec_", "msg_7", now, body)},
		"version 2":         {"/hooks/a/ci", body, change("webhook-signature", "v2,AAAA")},
		"many signatures":   {"/hooks/a/ci", body, change("webhook-signature", strings.Repeat("v1,AAAA ", 1000))},
		"github's":          {"/hooks/a/ci", body, github(hookSecret, body)},
		"no such hook":      {"/hooks/a/nobody", body, good},
		"another namespace": {"/hooks/b/ci", body, good},
		"no name":           {"/hooks/a/A_B", body, good},
	} {
		code, _, text := h.post(c.path, c.body, c.header)
		if code != 401 {
			t.Errorf("%s: %d %s", what, code, text)
		}
		var p Problem
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatal(err)
		}
		if p.Instance = ""; refused != "" && refused != fmt.Sprint(p) {
			t.Errorf("%s is refused in other words, which says what there is: %+v", what, p)
		}
		refused = fmt.Sprint(p)
	}
	if code, _, text := h.post("/hooks/a/ci", strings.Repeat("x", maxHookBody+1), good); code != 413 {
		t.Errorf("too large: %d %s", code, text)
	}
	header := signed(t, hookSecret, "msg_9", now, body)
	header["Webhook-Hops"] = "4"
	if code, _, text := h.post("/hooks/a/ci", body, header); code != 400 {
		t.Errorf("in a circle: %d %s", code, text)
	}
	if n := len(h.posted.of(event.DeployRequested)); n != 1 {
		t.Errorf("%d events", n)
	}
}

func TestGitHubHook(t *testing.T) {
	h := newHouse(t)
	h.hook("gh", v1alpha1.WebhookSourceSpec{
		Verify: v1alpha1.Verification{Scheme: v1alpha1.SchemeGitHub, TimePath: "$.run.updated_at"}, RatePerMinute: 6000,
		Rules: []v1alpha1.HookRule{
			{
				When: []v1alpha1.HookCondition{{Path: "header.X-GitHub-Event", In: []string{"workflow_run"}}, {Path: "$.run.conclusion", In: []string{"success"}}, {Path: "$.run.branch", In: []string{"release/*", "main"}}},
				Type: event.DeployRequested, Data: map[string]string{"application": "{$.repo[0].name}", "oci": "ghcr.io/acme/{$.repo[0].name}@sha256:{$.run.sha}", "reason": "run {$.run.id}"},
			},
			{When: []v1alpha1.HookCondition{{Path: "$.run.conclusion", In: []string{"rollback"}}}, Type: event.RollbackRequested, Data: map[string]string{"application": "hello"}},
			{When: []v1alpha1.HookCondition{{Path: "$.run.conclusion", In: []string{"invoke"}}}, Type: event.CommandRequested, Data: map[string]string{"kind": "Invoke", "devices": "d-1,d-2", "application": "hello", "function": "go", "payload": "$.run.branch"}},
			{When: []v1alpha1.HookCondition{{Path: "$.run.conclusion", In: []string{"own"}}}, Type: "com.example.run"},
			{When: []v1alpha1.HookCondition{{Path: "$.run.conclusion", In: []string{"state"}}}, Type: event.DeviceReported},
			{When: []v1alpha1.HookCondition{{Path: "$.run.conclusion", In: []string{"other"}}}, Type: event.DeployRequested, Data: map[string]string{"namespace": "b", "application": "x", "module": "y"}},
			{When: []v1alpha1.HookCondition{{Path: "$.run.conclusion", In: []string{"token"}}}, Type: "com.example.run", Data: map[string]string{"sig": "header.X-Hub-Signature-256"}},
		},
	})
	sha := strings.Repeat("a", 64)
	at := time.Now().UTC().Format(time.RFC3339)
	body := func(id int, conclusion, branch string) string {
		return fmt.Sprintf(`{"repo":[{"name":"hello"}],"run":{"id":%d,"conclusion":%q,"branch":%q,"sha":%q,"updated_at":%q}}`, id, conclusion, branch, sha, at)
	}
	key := "0123456789abcdef0123456789abcdef" // what stands behind whsec_
	for i, c := range []struct {
		conclusion, branch string
		code               int
		status, typ        string
	}{
		{"success", "release/1", 202, "accepted", event.DeployRequested}, {"success", "main", 202, "accepted", event.DeployRequested}, {"success", "topic", 202, "ignored", ""},
		{"failure", "main", 202, "ignored", ""}, {"rollback", "", 202, "accepted", event.RollbackRequested}, {"invoke", "arg", 202, "accepted", event.CommandRequested},
		{"own", "x", 202, "accepted", "com.example.run"}, {"state", "x", 403, "", ""}, {"other", "x", 403, "", ""}, {"token", "x", 400, "", ""},
	} {
		b := body(i, c.conclusion, c.branch)
		code, a, text := h.post("/hooks/a/gh", b, github(key, b))
		if code != c.code || a.Status != c.status && code < 300 || code < 300 && a.Type != c.typ {
			t.Errorf("%s on %s: %d %s", c.conclusion, c.branch, code, text)
		}
		if c.status == "accepted" {
			if _, a, _ := h.post("/hooks/a/gh", b, github(key, b)); a.Status != "duplicate" {
				t.Errorf("%s again: %+v", c.conclusion, a)
			}
		}
	}
	d, err := event.Data[event.DeployRequest](h.posted.of(event.DeployRequested)[0])
	if err != nil || d.OCI != "ghcr.io/acme/hello@sha256:"+sha || d.Reason != "run 0" || d.Namespace != "a" {
		t.Errorf("%+v %v", d, err)
	}
	cmd, err := event.Data[event.CommandRequest](h.posted.of(event.CommandRequested)[0])
	if err != nil || len(cmd.Devices) != 2 || string(cmd.Payload) != "arg" || cmd.By != "hook gh" {
		t.Errorf("%+v %v", cmd, err)
	}
	if own := h.posted.of("com.example.run"); len(own) != 1 || !strings.Contains(string(own[0].Data()), `"id":6`) {
		t.Errorf("%v", own)
	}
	b := body(100, "success", "main")
	form := "payload=" + strings.NewReplacer("{", "%7B", "}", "%7D", `"`, "%22", ":", "%3A", ",", "%2C", "[", "%5B", "]", "%5D", "/", "%2F", "+", "%2B").Replace(b)
	header := github(key, form)
	header["Content-Type"] = "application/x-www-form-urlencoded"
	if code, a, text := h.post("/hooks/a/gh", form, header); code != 202 || a.Status != "accepted" {
		t.Errorf("as a form: %d %s", code, text)
	}
	at = time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	b = body(101, "success", "main")
	if code, _, text := h.post("/hooks/a/gh", b, github(key, b)); code != 400 {
		t.Errorf("of an hour ago: %d %s", code, text)
	}
	for _, wrong := range []map[string]string{github("another key that is long enough", b), {"X-Hub-Signature-256": "sha256="}, {"X-Hub-Signature-256": strings.TrimPrefix(github(key, b)["X-Hub-Signature-256"], "sha256=")}, {"X-Hub-Signature": github(key, b)["X-Hub-Signature-256"]}} {
		if code, _, text := h.post("/hooks/a/gh", b, wrong); code != 401 {
			t.Errorf("%v: %d %s", wrong, code, text)
		}
	}
}

func TestTokenHookAndRate(t *testing.T) {
	h := newHouse(t)
	h.hook("reg", v1alpha1.WebhookSourceSpec{Verify: v1alpha1.Verification{Scheme: v1alpha1.SchemeToken, Header: "X-Token"}, Rules: []v1alpha1.HookRule{{Type: "com.example.push"}}, RatePerMinute: 20})
	h.hook("bearer", v1alpha1.WebhookSourceSpec{Verify: v1alpha1.Verification{Scheme: v1alpha1.SchemeToken}, Rules: []v1alpha1.HookRule{{Type: "com.example.push"}}})
	for header, want := range map[string]int{hookSecret: 202, "the-one-before-that-is-long": 202, "": 401, "x": 401, hookSecret + "x": 401} {
		if code, _, text := h.post("/hooks/a/reg", "{}", map[string]string{"X-Token": header}); code != want {
			t.Errorf("%q: %d %s", header, code, text)
		}
	}
	if code, _, _ := h.post("/hooks/a/bearer", "{}", map[string]string{"Authorization": "Bearer " + hookSecret}); code != 202 {
		t.Error("bearer", code)
	}
	if code, _, _ := h.post("/hooks/a/bearer", "{}", map[string]string{"Authorization": hookSecret}); code != 401 {
		t.Error("bare", code)
	}
	limited := 0
	for range 10 {
		code, _, _ := h.post("/hooks/a/reg", "not JSON", map[string]string{"X-Token": hookSecret})
		if code == 429 {
			limited++
		}
	}
	if limited < 5 {
		t.Errorf("%d of 10 over a rate of 20 a minute", limited)
	}
	limited = 0
	for range 3 * hookAskBurst {
		if code, _, _ := h.post("/hooks/a/reg", "{}", nil); code == 429 {
			limited++
		}
	}
	if limited < hookAskBurst/2 {
		t.Errorf("%d guesses of %d are limited", limited, 3*hookAskBurst)
	}
}

// TestEventsDoor: nobody says more than they may, nor in another's name.
func TestEventsDoor(t *testing.T) {
	h := newHouse(t)
	post := func(path, token, kind, body string) (int, string) {
		code, _, text := h.post(path, body, map[string]string{"Authorization": "Bearer " + token, "Content-Type": kind})
		return code, text
	}
	const one, many = "application/cloudevents+json", "application/cloudevents-batch+json"
	ev := func(id, typ, data, more string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/wasmbed/functions/deploy","type":%q,"datacontenttype":"application/json","data":%s%s}`, id, typ, data, more)
	}
	deploy := `{"namespace":"a","application":"hello","module":"m","by":"somebody else"}`
	for _, c := range []struct {
		path, token, kind, body string
		want                    int
	}{
		{"/api/v1/events", "admin", one, ev("1", event.DeployRequested, deploy, `,"namespace":"a"`), 202},
		{"/api/v1/events?namespace=a", "admin", one, ev("2", "com.example.x", `{"x":1}`, `,"timerkind":"webhook","era":"1","partitionkey":"a/b","mine":"kept","subject":"s"`), 202},
		{"/api/v1/namespaces/a/events", "admin", many, "[" + ev("3", "com.example.x", `1`, "") + "," + ev("4", "com.example.x", `2`, "") + "]", 202},
		{"/api/v1/events", "admin", one, ev("5", "com.example.x", `{}`, ""), 400},
		{"/api/v1/namespaces/b/events", "admin", one, ev("6", event.DeployRequested, deploy, ""), 403},
		{"/api/v1/namespaces/a/events", "admin", one, ev("7", "com.example.x", `{}`, `,"namespace":"b"`), 403},
		{"/api/v1/namespaces/a/events", "admin", one, ev("8", event.DeviceReported, `{}`, ""), 403},
		{"/api/v1/namespaces/a/events", "admin", one, ev("9", event.TimerDue, `{}`, ""), 403},
		{"/api/v1/namespaces/a/events", "admin", one, ev("10", event.RefUpdate, `{}`, ""), 403},
		{"/api/v1/namespaces/a/events", "admin", one, ev("11", event.WebhookTested, `{}`, ""), 403},
		{"/api/v1/namespaces/a/events", "admin", one, ev("12", event.DeployRequested, `{"application":"x"}`, ""), 400},
		{"/api/v1/namespaces/a/events", "admin", one, ev("13", event.DeployRequested, `{"application":"x","module":"y","more":1}`, ""), 400},
		{"/api/v1/namespaces/a/events", "admin", many, "[" + ev("14", "com.example.x", `1`, "") + "," + ev("15", event.RolloutFailed, `{}`, "") + "]", 403},
		{"/api/v1/namespaces/a/events", "admin", many, "[]", 400},
		{"/api/v1/namespaces/a/events", "admin", "text/plain", "x", 400},
		{"/api/v1/namespaces/a/events", "a-reader", one, ev("16", "com.example.x", `{}`, ""), 403},
		{"/api/v1/events?namespace=a", "a-reader", one, ev("17", "com.example.x", `{}`, ""), 403},
		{"/api/v1/events?namespace=a", "poster", one, ev("18", "com.example.x", `{}`, ""), 202},
		{"/api/v1/events?namespace=a", "poster", one, ev("19", event.DeployRequested, deploy, ""), 403}, // may post, may not deploy
		{"/api/v1/events?namespace=a", "poster", one, ev("20", event.RollbackRequested, `{"application":"x"}`, ""), 403},
		{"/api/v1/events?namespace=a", "poster", one, ev("21", event.CommandRequested, `{"kind":"Reboot","all":true}`, ""), 403},
		{"/api/v1/events?namespace=a", "", one, ev("22", "com.example.x", `{}`, ""), 401},
	} {
		if code, text := post(c.path, c.token, c.kind, c.body); code != c.want {
			t.Errorf("%s %s %s: %d %s", c.path, c.token, c.body, code, text)
		}
	}
	var ids []string
	for _, e := range h.posted.events {
		if e.Type() == event.AuditRecorded {
			continue
		}
		ids = append(ids, e.ID())
		if event.Namespace(e) != "a" || !strings.HasPrefix(e.Source(), "/wasmbed/events/a/") || event.Extension(e, "origin") != "/wasmbed/functions/deploy" || time.Since(e.Time()) > time.Minute {
			t.Errorf("%v", e)
		}
		switch e.ID() {
		case "1":
			if d, err := event.Data[event.DeployRequest](e); err != nil || d.By != "admin" || e.Subject() != "a/hello" {
				t.Errorf("%+v %v", d, err)
			}
		case "2":
			if event.Extension(e, "mine") != "kept" || event.Extension(e, "timerkind")+event.Extension(e, "era")+event.Extension(e, "partitionkey") != "" || e.Subject() != "s" {
				t.Errorf("%v", e)
			}
		}
	}
	if fmt.Sprint(ids) != "[1 2 3 4 18]" {
		t.Errorf("taken: %v", ids)
	}
}

// TestWebhooksByREST: made, shown without its key, rotated, tried, and gone with what belongs to it.
func TestWebhooksByREST(t *testing.T) {
	h := newHouse(t)
	const at = "/api/v1/namespaces/a/webhooks"
	code, _, body := h.do("POST", at, "admin", `{"metadata":{"name":"mes"},"spec":{"url":"https://mes.example/x","types":["io.wasmbed.rollout.*"]},"secret":"`+hookSecret+`"}`)
	if code != 201 || strings.Contains(body, "whsec") || !strings.Contains(body, `"secretRef":{"name":"webhook-mes"}`) {
		t.Fatalf("%d %s", code, body)
	}
	key := func() map[string][]byte {
		s, err := h.client.Secrets.Get(t.Context(), "a", "webhook-mes")
		if err != nil || s.Type != v1alpha1.SecretTypeWebhook {
			t.Fatal(s, err)
		}
		return s.Data
	}
	if string(key()["secret"]) != hookSecret {
		t.Error("the key is another one")
	}
	other := "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
	if code, _, body := h.do("POST", at+"/mes/secret", "admin", `{"secret":"`+other+`"}`); code != 200 || string(key()["secret"]) != other || string(key()["previous"]) != hookSecret {
		t.Errorf("%d %s %s", code, body, key())
	}
	if code, _, _ := h.do("POST", at+"/mes/secret", "admin", `{"dropPrevious":true}`); code != 200 || len(key()) != 1 {
		t.Errorf("%d %s", code, key())
	}
	for _, c := range []struct {
		path, body string
		want       int
	}{
		{"", `{"metadata":{"name":"mes"},"spec":{"url":"https://x/"}}`, 409}, {"", `{"spec":{"url":"https://x/"}}`, 400}, {"", `{"metadata":{"name":"x"},"spec":{"url":"https://x/"},"secret":"short"}`, 400},
		{"", `{"metadata":{"name":"x"},"spec":{"url":"https://x/","secretRef":{"name":"tls"}},"secret":"` + other + `"}`, 400}, {"/mes/secret", `{}`, 400}, {"/nobody/test", ``, 404},
		{"", `{"metadata":{"name":"x","namespace":"b"},"spec":{"url":"https://x/"}}`, 400},
	} {
		if code, _, body := h.do("POST", at+c.path, "admin", c.body); code != c.want {
			t.Errorf("%s %s: %d %s", c.path, c.body, code, body)
		}
	}
	if code, _, body := h.do("PUT", at+"/mes", "admin", `{"spec":{"url":"https://other.example/"}}`); code != 200 || !strings.Contains(body, "other.example") || !strings.Contains(body, "webhook-mes") {
		t.Errorf("%d %s", code, body)
	}
	code, _, body = h.do("POST", at+"/mes/test", "admin", "")
	var tried testAnswer
	if err := json.Unmarshal([]byte(body), &tried); err != nil || code != 202 || len(h.posted.of(event.WebhookTested)) != 1 {
		t.Fatalf("%d %s", code, body)
	}
	hk := ledger.Hook{Namespace: "a", Name: "mes"}
	for i, id := range []string{"0000000000000000000000000000000a", tried.Delivery} {
		d := ledger.HookDelivery{ID: id, Type: event.WebhookTested, Source: "/s", EventID: fmt.Sprint(i), Created: time.Now(), Status: ledger.HookWaiting, Event: json.RawMessage(`{"data":{"password":"hunter2","x":"` + strings.Repeat("y", maxShown*i) + `"}}`)}
		if _, err := h.ledger.QueueHook(t.Context(), hk, d, false); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for after := ""; len(seen) < 3; {
		page := get[struct {
			Items []deliveryAnswer
			Next  string
		}](h, at+"/mes/deliveries?limit=1&after="+after)
		if len(page.Items) != 1 || page.Items[0].Body != "" {
			t.Fatalf("%+v", page)
		}
		seen[page.Items[0].ID] = true
		if after = page.Next; after == "" {
			break
		}
	}
	if len(seen) != 2 || !seen[tried.Delivery] {
		t.Errorf("%v", seen)
	}
	d := get[deliveryAnswer](h, at+"/mes/deliveries/0000000000000000000000000000000a")
	if d.Body != `{"data":{"password":"***","x":""}}` || d.Cut {
		t.Errorf("%+v", d)
	}
	if d := get[deliveryAnswer](h, at+"/mes/deliveries/"+tried.Delivery); len(d.Body) != maxShown || !d.Cut {
		t.Errorf("%d bytes, cut %v", len(d.Body), d.Cut)
	}
	if code, _, body := h.do("POST", at+"/mes/deliveries/"+tried.Delivery+"/redeliver", "admin", ""); code != 202 || len(h.posted.of(event.WebhookRedeliveryRequested)) != 1 {
		t.Errorf("%d %s", code, body)
	}
	if code, _, body := h.do("POST", at+"/mes/deliveries/0b/redeliver", "admin", ""); code != 404 {
		t.Errorf("%d %s", code, body)
	}
	if code, _, _ := h.do("POST", at+"/mes/enable", "admin", ""); code != 200 {
		t.Error("enable", code)
	}
	if code, _, body := h.do("DELETE", at+"/mes", "admin", ""); code != 202 {
		t.Errorf("%d %s", code, body)
	}
	if _, err := h.client.Secrets.Get(t.Context(), "a", "webhook-mes"); err == nil {
		t.Error("its key stays")
	}
}
