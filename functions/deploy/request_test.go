package deploy

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// least is the smallest module that a device runs: wasmbed_start returns 0.
func least(t *testing.T) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString("AGFzbQEAAAABBQFgAAF/AwIBAAUDAQABBxoCDXdhc21iZWRfc3RhcnQAAAZtZW1vcnkCAAoGAQQAQQAL")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDeployRequests: what outside systems ask for is done once, newest last, and each request is answered.
func TestDeployRequests(t *testing.T) {
	f, set, _, _ := start(t)
	for _, name := range []string{"m1", "m2"} {
		if _, err := set.Modules.Create(t.Context(), &v1alpha1.Module{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: name}, Spec: v1alpha1.ModuleSpec{Bytes: least(t)}}); err != nil {
			t.Fatal(err)
		}
	}
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "hello"}, Spec: v1alpha1.ApplicationSpec{Module: v1alpha1.ModuleSource{Inline: []byte("\x00asm")}}}
	if _, err := set.Applications.Create(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	oci := "registry.example/hello@sha256:" + strings.Repeat("a", 64)
	began := time.Now()
	ask := func(id string, at int, r event.DeployRequest) event.DeployOutcome {
		t.Helper()
		if r.Application == "" {
			r.Application = "hello"
		}
		r.Namespace = "plant"
		e, err := event.New(event.DeployRequested, "/ci", "plant/hello", id, r, event.In("plant"), event.At(began.Add(time.Duration(at)*time.Second)))
		if err != nil {
			t.Fatal(err)
		}
		reply, err := f.Handle(t.Context(), e)
		if err != nil || reply == nil || reply.Type() != event.DeployAnswered {
			t.Fatalf("%s: %v %v", id, reply, err)
		}
		out, err := event.Data[event.DeployOutcome](*reply)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, c := range []struct {
		id             string
		at             int
		r              event.DeployRequest
		status, reason string
		module, oci    string // after it
	}{
		{"a", 1, event.DeployRequest{Module: "m1", By: "ci"}, "Changed", "", "m1", ""},
		{"b", 3, event.DeployRequest{OCI: oci}, "Changed", "", "", oci},
		{"a", 1, event.DeployRequest{Module: "m1"}, "Changed", "", "", oci}, // said again: the same answer, and no effect
		{"c", 2, event.DeployRequest{Module: "m2"}, "Refused", "Superseded", "", oci},
		{"d", 4, event.DeployRequest{OCI: oci}, "Unchanged", "", "", oci},
		{"e", 5, event.DeployRequest{Module: "nothing"}, "Refused", "NoModule", "", oci},
		{"f", 6, event.DeployRequest{OCI: "registry.example/hello:latest"}, "Refused", "NoDigest", "", oci},
		{"g", 7, event.DeployRequest{Module: "m1", Application: "nobody"}, "Refused", "NoApplication", "", oci},
		{"h", 8, event.DeployRequest{Module: "m2"}, "Changed", "", "m2", ""},
	} {
		if out := ask(c.id, c.at, c.r); out.Status != c.status || out.Reason != c.reason {
			t.Errorf("%s: %+v", c.id, out)
		}
		app, err := set.Applications.Get(t.Context(), "plant", "hello")
		if err != nil || app.Spec.Module.Name != c.module || app.Spec.Module.OCI != c.oci || app.Spec.Module.Inline != nil {
			t.Errorf("%s: %+v %v", c.id, app.Spec.Module, err)
		}
	}
	for _, bad := range []event.DeployRequest{{}, {Namespace: "plant", Application: "hello"}, {Namespace: "plant", Application: "hello", Module: "m1", OCI: oci}} {
		e, err := event.New(event.DeployRequested, "/ci", "x", "", bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Handle(t.Context(), e); !errs.Is(err, errs.Invalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
