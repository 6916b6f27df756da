package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/trace"
)

// TestTrace: one trace id from the request to the status, through broker, functions, ledger, gateway and device, in a
// real platform; for a change by REST with the caller's own trace, and for one by kubectl, which brings none.
func TestTrace(t *testing.T) {
	bin, dir := programs(t), filepath.Join(t.TempDir(), "state")
	r := launch(t, bin, dir, environment(dir, "WASMBED_BOARDS=Mps2An385", "WASMBED_SAMPLE=false"))
	r.ready()
	c := &traceClient{T: t, server: "http://" + r.ends().API + "/api/v1/", token: (&state{dir: dir}).read("token")}

	eventually(t, "the device is online", func() error { // else it is dispatched to when it comes, in the trace of its coming
		ds, _, err := r.set().Devices.List(t.Context(), namespace, client.ListOptions{})
		if err == nil && (len(ds) != 1 || ds[0].Status.Online != "True") {
			err = fmt.Errorf("%d devices", len(ds))
		}
		return err
	})

	const caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00" // not sampled by the caller: we are asked all the same
	answer := c.put("namespaces/default/applications/byrest", application(t, "byrest"), caller)
	if trace.ID(answer) != trace.ID(caller) {
		t.Errorf("the answer's Traceparent is %q", answer)
	}
	way := []string{
		"api/PUT ", "api/kubernetes create Application", "broker/deliver dev.knative.apiserver.ref.", "deploy/process dev.knative.apiserver.ref.",
		"deploy/ledger dispatch", "gateway/send Deploy", "device/device Running, confirmed", "gateway/publish io.wasmbed.device.reported.v1",
		"broker/deliver io.wasmbed.device.reported.v1", "report/process io.wasmbed.device.reported.v1", "report/ledger report",
	}
	byREST := c.complete("events/"+trace.ID(caller)+"/trace", way)
	if byREST.Trace != trace.ID(caller) {
		t.Errorf("trace %s", byREST.Trace)
	}

	if _, err := r.set().Applications.Create(t.Context(), application(t, "bykubectl")); err != nil {
		t.Fatal(err)
	}
	byKubectl := c.complete("namespaces/default/applications/bykubectl/trace", way[2:])
	if byKubectl.Trace == byREST.Trace {
		t.Error("both are in one trace")
	}
	// An event on the way leads to the same trace.
	for _, h := range byKubectl.Hops {
		if id := h.Attributes["cloudevents.event_id"]; strings.HasPrefix(h.Name, "process io.wasmbed.device.reported") {
			var got trace.Trace
			if code := c.get("events/"+url.PathEscape(id)+"/trace", &got); code != http.StatusOK || got.Trace != byKubectl.Trace {
				t.Errorf("event %s: %d, trace %s", id, code, got.Trace)
			}
			break
		}
	}
	if code := c.get("events/nobody-knows-it/trace", nil); code != http.StatusNotFound {
		t.Errorf("an unknown event: %d", code)
	}
}

func application(t *testing.T, name string) *v1alpha1.Application {
	t.Helper()
	wasm, err := os.ReadFile(filepath.Join("..", "..", "firmware", "modules", "hello.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	app := &v1alpha1.Application{TypeMeta: metav1.TypeMeta{APIVersion: "wasmbed.io/v1alpha1", Kind: "Application"}, ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	app.Spec.Module.Inline = wasm
	app.Spec.Targets.All = true
	app.Spec.Manifest.Permissions = []v1alpha1.Permission{"log", "clock", "telemetry"}
	app.Spec.Manifest.Health.Window = &metav1.Duration{Duration: time.Second}
	return app
}

// traceClient speaks to the REST API.
type traceClient struct {
	*testing.T
	server, token string
}

func (c *traceClient) do(req *http.Request) (*http.Response, []byte) {
	c.Helper()
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.Fatal(err)
	}
	return resp, b
}

func (c *traceClient) put(path string, body any, traceparent string) (answered string) {
	c.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		c.Fatal(err)
	}
	req, err := http.NewRequestWithContext(c.Context(), http.MethodPut, c.server+path, strings.NewReader(string(b)))
	if err != nil {
		c.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Traceparent", traceparent)
	resp, text := c.do(req)
	if resp.StatusCode/100 != 2 {
		c.Fatalf("%s: %s %s", path, resp.Status, text)
	}
	return resp.Header.Get("Traceparent")
}

func (c *traceClient) get(path string, into any) int {
	c.Helper()
	req, err := http.NewRequestWithContext(c.Context(), http.MethodGet, c.server+path, nil)
	if err != nil {
		c.Fatal(err)
	}
	resp, b := c.do(req)
	if resp.StatusCode == http.StatusOK && into != nil {
		if err := json.Unmarshal(b, into); err != nil {
			c.Fatal(err)
		}
	}
	return resp.StatusCode
}

// complete waits until a trace has a way: hops each of which comes from the one before, if not directly, with a status
// of the Application and one of the Device written after its end.
func (c *traceClient) complete(path string, way []string) (got trace.Trace) {
	c.Helper()
	eventually(c.T, "a whole trace at "+path, func() error {
		got = trace.Trace{}
		if code := c.get(path, &got); code != http.StatusOK {
			return fmt.Errorf("%d", code)
		}
		end, missing := follow(got.Hops, way)
		if end == nil {
			return fmt.Errorf("no %q after the hops before it, in\n%s", missing, hopNames(got.Hops))
		}
		for _, name := range []string{"kubernetes update status of Application", "kubernetes update status of Device"} {
			if !writtenAfter(got.Hops, name, end.Start) {
				return fmt.Errorf("no %q after the report, in\n%s", name, hopNames(got.Hops))
			}
		}
		if !got.Complete || got.Dropped != 0 {
			return fmt.Errorf("complete %v, %d dropped", got.Complete, got.Dropped)
		}
		before := map[string]bool{}
		for _, h := range got.Hops { // one that is still under way is not recorded yet, what it began may be
			if before[h.ID] = true; h.ID != got.Root && !before[h.Parent] {
				return fmt.Errorf("%s/%s comes before its parent, or without it, in\n%s", h.Component, h.Name, hopNames(got.Hops))
			}
		}
		return nil
	})
	for _, h := range got.Hops {
		if h.Component == "" || h.Start.IsZero() || h.Duration < 0 || h.Status == "" {
			c.Errorf("%+v", h)
		}
	}
	if len(got.Hops) == 0 || got.Root != got.Hops[0].ID {
		c.Errorf("the root is %s", got.Root)
	}
	return got
}

// follow returns the last hop of a way: it has the others as ancestors, in their order.
func follow(hops []trace.Span, way []string) (end *trace.Span, missing string) {
	by := map[string]*trace.Span{}
	for i := range hops {
		by[hops[i].ID] = &hops[i]
	}
	most := 0
	for i := range hops {
		left := len(way)
		for h := &hops[i]; h != nil && left > 0; h = by[h.Parent] {
			if strings.HasPrefix(h.Component+"/"+h.Name, way[left-1]) {
				left--
			} else if left == len(way) {
				break // it does not end so
			}
		}
		if left == 0 {
			return &hops[i], ""
		}
		most = max(most, len(way)-left)
	}
	return nil, way[max(0, len(way)-most-1)]
}

func writtenAfter(hops []trace.Span, name string, after time.Time) bool {
	for i := range hops {
		if hops[i].Name == name && hops[i].Status == "ok" && !hops[i].End().Before(after) {
			return true
		}
	}
	return false
}

func hopNames(hops []trace.Span) string {
	var b strings.Builder
	for _, h := range hops {
		fmt.Fprintf(&b, "%s %s/%s %s < %s\n", h.Start.Format("05.000000"), h.Component, h.Name, h.ID, h.Parent)
	}
	return b.String()
}
