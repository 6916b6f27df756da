package functions

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testredis"
	"wasmbed.io/wasmbed/internal/trace"
)

// TestTraceOnKnative: the broker is not ours. It adds no traceparent of use, its part of the way is shown all the same,
// a redelivery is in the same trace, and a change that the REST API made is in the trace of the request.
func TestTraceOnKnative(t *testing.T) {
	rdb := testredis.Start(t).Client(t)
	tr, err := trace.New(trace.Options{Component: "functions", Redis: rdb, Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	apps := client.Traced(client.NewMemory(), time.Now)
	const request = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	create := func(name, parent string) {
		ctx, hop := tr.Named("api").Begin(t.Context(), trace.Work{Name: "PUT", Kind: trace.Server, Parent: parent})
		if _, err := apps.Applications.Create(ctx, &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: name}}); err != nil {
			t.Fatal(err)
		}
		hop.End(true, nil)
	}
	create("byrest", request)
	create("bykubectl", "")

	fails := 0
	f := handle(func(ctx context.Context, e ce.Event) (*ce.Event, error) {
		app, err := apps.Applications.Get(ctx, "plant", event.Extension(e, event.ExtName))
		if err != nil {
			return nil, err
		}
		if app.Status.ObservedGeneration == app.Generation && app.Status.Rollout != nil {
			return nil, nil // settled
		}
		now := metav1.Now()
		app.Status.ObservedGeneration, app.Status.Rollout = app.Generation, &v1alpha1.RolloutStatus{StartedAt: &now}
		if fails++; fails == 1 {
			return nil, errs.New(errs.Unavailable, "not now")
		}
		_, err = apps.Applications.UpdateStatus(ctx, app)
		return nil, err
	})
	h := Handler(Entry{Name: "deploy", Types: []string{event.RefAdd}, Function: f}, HandlerOptions{Trace: tr})
	send := func(name string, headers ...string) {
		t.Helper()
		taken := time.Now().Add(-250 * time.Millisecond)
		e, err := event.New(event.RefAdd, "https://api", "/apis/x", "id-"+name, event.ObjectReference{Kind: v1alpha1.KindApplication, Namespace: "plant", Name: name},
			event.In("plant"), event.Ext(event.ExtName, name), event.Ext(event.ExtKind, v1alpha1.KindApplication), event.At(taken))
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(e.Data()))
		event.SetHeader(r.Header, event.Attributes(&e))
		for _, x := range headers {
			k, v, _ := strings.Cut(x, ": ")
			r.Header.Set(k, v)
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	// Knative's data plane makes its own trace that nobody records, another for each delivery.
	send("bykubectl", "Traceparent: "+trace.Fresh()) // fails
	send("bykubectl", "Traceparent: "+trace.Fresh())
	send("bykubectl", "Traceparent: "+trace.Fresh()) // settled: nothing to be seen
	send("byrest")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := tr.Close(ctx); err != nil {
		t.Fatal(err)
	}
	show := func(what string) string {
		t.Helper()
		id, err := trace.Find(t.Context(), rdb, what)
		if err != nil {
			t.Fatal(err)
		}
		got, err := trace.Read(t.Context(), rdb, id, nil, time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, x := range got.Hops {
			out = append(out, x.Component+"/"+x.Name+"/"+x.Status)
			if x.Name == "deliver "+event.RefAdd && x.Duration < 250_000 {
				t.Errorf("the broker's part took %d µs", x.Duration)
			}
		}
		if !got.Complete {
			t.Errorf("%s is not complete", what)
		}
		return strings.Join(out, " ")
	}
	const way = "broker/deliver dev.knative.apiserver.ref.add/ok deploy/process dev.knative.apiserver.ref.add/"
	if got, want := show("id-bykubectl"), way+"error"; !strings.Contains(got, want) || strings.Count(got, "process") != 2 || strings.Count(got, "update status of Application/ok") != 1 {
		t.Errorf("%s\nwant %s, and again with a status", got, want)
	}
	got := show(trace.ID(request))
	for _, want := range []string{"api/PUT/ok", "api/kubernetes create Application/ok", "broker/deliver dev.knative.apiserver.ref.add/ok",
		"deploy/process dev.knative.apiserver.ref.add/ok deploy/kubernetes update status of Application/ok"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
}

func TestParentOf(t *testing.T) {
	const (
		own   = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		hop   = "00-0af7651916cd43dd8448eb211c80319c-1111111111111111-01"
		other = "00-22222222222222222222222222222222-1111111111111111-01"
	)
	not := func(tp string) string { return tp[:53] + "00" }
	for i, x := range []struct {
		event, http string
		change      bool
		want        string
	}{
		{own, "", false, own},
		{own, hop, false, hop},   // a hop of the same trace
		{own, other, false, own}, // somebody's between
		{own, not(hop), false, own},
		{not(own), other, false, not(own)}, // it was decided that it is not recorded
		{not(own), "", true, ""},           // a broker's, of a change that nobody asked to trace
		{not(own), not(other), true, ""},
		{"", other, false, other},
		{"", not(other), true, ""},
		{"garbage", "", false, ""},
	} {
		e := ce.New()
		if x.event != "" {
			e.SetExtension(event.ExtTraceParent, x.event)
		}
		if got := parentOf(http.Header{"Traceparent": {x.http}}, &e, x.change); got != x.want {
			t.Errorf("%d: %q, want %q", i, got, x.want)
		}
	}
}

func FuzzBrokerSays(f *testing.F) {
	f.Add("wasmbed=1772366400000-2,other=x")
	f.Fuzz(func(t *testing.T, s string) {
		at, n, ok := brokerSays(http.Header{"Tracestate": {s}})
		if ok && (at.IsZero() || !strings.Contains(s, "wasmbed=")) || !ok && n != 0 {
			t.Errorf("%q: %v %d %v", s, at, n, ok)
		}
	})
}
