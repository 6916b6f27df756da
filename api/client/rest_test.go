package client_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testkube"
)

// TestREST: on a real API server the client does what its in-memory twin does.
func TestREST(t *testing.T) {
	s := testkube.Start(t)
	set, err := client.New(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	exercise(t, set)

	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}, Data: map[string][]byte{"a": {1}}}
	if _, err := set.Secrets.Create(t.Context(), secret); err != nil {
		t.Error(err)
	}
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "e-"}, Reason: "Tested", Type: corev1.EventTypeNormal,
		InvolvedObject: corev1.ObjectReference{Kind: "Application", Namespace: "default", Name: "a", APIVersion: "wasmbed.io/v1alpha1"},
	}
	if e, err := set.Events.Create(t.Context(), event); err != nil || e.Name == "" {
		t.Error(e, err)
	}
	bad := application("bad")
	bad.Spec.Targets.All = false
	if _, err := set.Applications.Create(t.Context(), bad); !errs.Is(err, errs.Invalid) {
		t.Errorf("refused by the schema: %v", err)
	}

	ownWords(t, s, set)

	nobody := rest.CopyConfig(s.Config)
	nobody.BearerToken = "wrong"
	if set, err := client.New(nobody); err != nil {
		t.Error(err)
	} else if _, err := set.Devices.Get(t.Context(), "default", "d"); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("with a wrong token: %v", err)
	}
	s.Stop(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := set.Devices.Get(ctx, "default", "d"); !errs.Retryable(err) {
		t.Errorf("with the API server away: %v", err)
	}
	s.Restart(t)
	if got, err := set.Secrets.Get(t.Context(), "default", "s"); err != nil || len(got.Data) != 1 {
		t.Errorf("after a restart: %v, %v", got, err)
	}
}

// ownWords: what people wrote stays theirs when a function puts a finalizer there, so that kubectl apply --server-side of the
// same file changes nothing and meets no conflict.
func ownWords(t *testing.T, s *testkube.Server, set *client.Set) {
	t.Helper()
	dyn, err := dynamic.NewForConfig(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	apply := func() int64 {
		t.Helper()
		o := &unstructured.Unstructured{}
		if err := o.UnmarshalJSON([]byte(`{"apiVersion": "wasmbed.io/v1alpha1", "kind": "Application", "metadata": {"name": "words", "namespace": "default"},
			"spec": {"module": {"name": "m"}, "targets": {"all": true}, "paused": false, "manifest": {"health": {"trapPeriod": "60s"}}}}`)); err != nil {
			t.Fatal(err)
		}
		apps := dyn.Resource(schema.GroupVersionResource{Group: "wasmbed.io", Version: "v1alpha1", Resource: "applications"}).Namespace("default")
		out, err := apps.Apply(t.Context(), "words", o, metav1.ApplyOptions{FieldManager: "kubectl"})
		if err != nil {
			t.Fatal(err)
		}
		return out.GetGeneration()
	}
	was := apply()
	app, err := set.Applications.Get(t.Context(), "default", "words")
	if err != nil {
		t.Fatal(err)
	}
	app.Finalizers = append(app.Finalizers, "wasmbed.io/deploy")
	if app, err = set.Applications.UpdateMeta(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	if now := apply(); app.Generation != was || now != was {
		t.Errorf("generation %d became %d and %d", was, app.Generation, now)
	}
}

// TestMissingCRDIsNotNotFound: "the object was deleted" and "there is no such kind" must not be the same.
func TestMissingCRDIsNotNotFound(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	set, err := client.New(&rest.Config{Host: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set.Devices.Get(t.Context(), "default", "d"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("got %v", err)
	}
	if _, _, err := set.Devices.List(t.Context(), "", client.ListOptions{}); !errs.Is(err, errs.Unavailable) {
		t.Errorf("got %v", err)
	}
}
