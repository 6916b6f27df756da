package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/apply"
	"wasmbed.io/wasmbed/internal/testkube"
)

type place struct {
	*testing.T
	cfg *rest.Config
	set *client.Set
}

func start(t *testing.T) *place {
	t.Helper()
	s := testkube.Start(t)
	set, err := client.New(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	return &place{t, s.Config, set}
}

func (p *place) apply(docs string) {
	p.Helper()
	a, err := apply.New(p.cfg)
	if err != nil {
		p.Fatal(err)
	}
	os, err := apply.Decode([]byte(docs))
	if err != nil {
		p.Fatal(err)
	}
	if err := a.Apply(p.Context(), os...); err != nil {
		p.Fatal(err)
	}
}

const objects = `
{apiVersion: v1, kind: Namespace, metadata: {name: plant, labels: {site: north}}}
---
{apiVersion: v1, kind: Secret, metadata: {name: wasmbed-ca, namespace: wasmbed-system}, stringData: {tls.crt: cert, tls.key: key}}
---
{apiVersion: v1, kind: Secret, metadata: {name: wasmbed-revoked-a, namespace: wasmbed-system}, stringData: {plant.abcd: '{}'}}
---
{apiVersion: v1, kind: Secret, metadata: {name: wasmbed-redis-api, namespace: wasmbed-system}, stringData: {url: "redis://"}}
---
{apiVersion: v1, kind: Secret, metadata: {name: hook, namespace: plant}, stringData: {key: k}}
---
{apiVersion: v1, kind: Secret, metadata: {name: other, namespace: plant}, stringData: {key: k}}
---
{apiVersion: wasmbed.io/v1alpha1, kind: Gateway, metadata: {name: gw, namespace: plant}, spec: {address: "gw.example.net:8081", pairing: {approval: Manual}}}
---
{apiVersion: wasmbed.io/v1alpha1, kind: Device, metadata: {name: press, namespace: plant, labels: {line: a}, finalizers: [wasmbed.io/board]}, spec: {board: Mps2An385, approval: Approved}}
---
{apiVersion: wasmbed.io/v1alpha1, kind: Webhook, metadata: {name: out, namespace: plant}, spec: {url: "https://example.net/x", secretRef: {name: hook}, types: ["io.wasmbed.rollout.failed.v1"]}}
`

// fill makes a namespace in which an application was rolled back: its spec is at its third generation, which failed.
func (p *place) fill() {
	p.Helper()
	p.apply(objects)
	spec := func(digit string) string {
		return `{apiVersion: wasmbed.io/v1alpha1, kind: Application, metadata: {name: hello, namespace: plant}, spec: {module: {oci: "registry.example.net/hello@sha256:` + strings.Repeat(digit, 64) + `"}, targets: {all: true}}}`
	}
	for _, digit := range []string{"1", "2", "3"} {
		p.apply(spec(digit))
	}
	ctx := p.Context()
	app, err := p.set.Applications.Get(ctx, "plant", "hello")
	if err != nil {
		p.Fatal(err)
	}
	if app.Generation != 3 {
		p.Fatalf("generation %d", app.Generation)
	}
	for i, name := range []string{"hello-1-111111", "hello-2-222222"} {
		r := &v1alpha1.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: name, Annotations: map[string]string{uidAnnotation: string(app.UID)}},
			Spec: v1alpha1.RevisionSpec{Application: "hello", Number: int64(i + 1), Hash: strings.Repeat("ab", 32), Module: v1alpha1.ResolvedModule{Digest: "sha256:" + strings.Repeat("1", 64), Size: 3, OCI: "registry.example.net/hello@sha256:" + strings.Repeat("1", 64)}}}
		if _, err := p.set.Revisions.Create(ctx, r); err != nil {
			p.Fatal(err)
		}
	}
	app.Status.ObservedGeneration = 3
	app.Status.Rollout = &v1alpha1.RolloutStatus{Generation: 3, Sequence: 7, From: "hello-2-222222", To: "hello-1-111111", Reason: v1alpha1.RolloutFailed, State: v1alpha1.RolloutComplete}
	app.Status.Conditions = []metav1.Condition{{Type: "RolledBack", Status: metav1.ConditionTrue, Reason: "Trapped", ObservedGeneration: 3, LastTransitionTime: metav1.Now()}}
	if _, err := p.set.Applications.UpdateStatus(ctx, app); err != nil {
		p.Fatal(err)
	}
}

// TestRestore: what was decided is decided still in another cluster, told in that cluster's uids and generations.
func TestRestore(t *testing.T) {
	from, to := start(t), start(t)
	from.fill()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := save(ctx, from.cfg, time.Unix(1_700_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "backup")
	if err := write(path, c); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v, %v", info.Mode(), err)
	}
	c, err = read(path)
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	for range 2 { // the second changes nothing
		if err := restore(ctx, to.cfg, c, &said); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(said.String(), "made 0,") {
		t.Errorf("the second restore says %s", said.String())
	}
	app, err := to.set.Applications.Get(ctx, "plant", "hello")
	if err != nil {
		t.Fatal(err)
	}
	ro := app.Status.Rollout
	if ro == nil || ro.Generation != app.Generation || ro.Sequence != 7 || ro.To != "hello-1-111111" || ro.From != "hello-2-222222" {
		t.Errorf("generation %d, rollout %+v", app.Generation, ro)
	}
	if app.Status.ObservedGeneration != app.Generation || len(app.Status.Conditions) != 1 || app.Status.Conditions[0].ObservedGeneration != app.Generation {
		t.Errorf("status %+v", app.Status)
	}
	r, err := to.set.Revisions.Get(ctx, "plant", "hello-1-111111")
	if err != nil {
		t.Fatal(err)
	}
	if r.Annotations[uidAnnotation] != string(app.UID) {
		t.Errorf("the revision is of %s, the application is %s", r.Annotations[uidAnnotation], app.UID)
	}
	dev, err := to.set.Devices.Get(ctx, "plant", "press")
	if err != nil || dev.Labels["line"] != "a" || len(dev.Finalizers) != 1 || dev.Spec.Approval != v1alpha1.ApprovalApproved {
		t.Errorf("device %+v, %v", dev, err)
	}
	for name, want := range map[string]bool{"wasmbed-system/wasmbed-ca": true, "wasmbed-system/wasmbed-revoked-a": true, "plant/hook": true, "plant/other": false, "wasmbed-system/wasmbed-redis-api": false} {
		ns, n, _ := strings.Cut(name, "/")
		_, err := to.set.Secrets.Get(ctx, ns, n)
		if (err == nil) != want {
			t.Errorf("Secret %s: %v", name, err)
		}
	}
	// And it is the same when it is saved again.
	again, err := save(ctx, to.cfg, c.Created)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := specs(t, c), specs(t, again); a != b {
		t.Errorf("saved again:\n%s\nbefore:\n%s", b, a)
	}
}

// specs is what people wrote, as text.
func specs(t *testing.T, c *content) string {
	var b strings.Builder
	for _, o := range c.Objects {
		text, err := json.Marshal([]any{o.GetKind(), o.GetNamespace(), o.GetName(), o.GetFinalizers(), o.Object["spec"], o.Object["data"]})
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(text, '\n'))
	}
	return b.String()
}

// TestInterrupted: a restore that ended between an application and its status goes on there.
func TestInterrupted(t *testing.T) {
	p := start(t)
	p.fill()
	ctx := t.Context()
	c, err := save(ctx, p.cfg, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	d, err := dynamic.NewForConfig(p.cfg)
	if err != nil {
		t.Fatal(err)
	}
	app, err := p.set.Applications.Get(ctx, "plant", "hello")
	if err != nil {
		t.Fatal(err)
	}
	app.Status = v1alpha1.ApplicationStatus{}
	if _, err := p.set.Applications.UpdateStatus(ctx, app); err != nil {
		t.Fatal(err)
	}
	if err := d.Resource(ours("revisions")).Namespace("plant").Delete(ctx, "hello-1-111111", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := restore(ctx, p.cfg, c, &out); err != nil {
		t.Fatal(err)
	}
	if app, err = p.set.Applications.Get(ctx, "plant", "hello"); err != nil || app.Status.Rollout == nil || app.Status.Rollout.Sequence != 7 {
		t.Errorf("rollout %+v, %v", app.Status.Rollout, err)
	}
	if _, err := p.set.Revisions.Get(ctx, "plant", "hello-1-111111"); err != nil {
		t.Error(err)
	}
	if !strings.Contains(out.String(), "made 1,") {
		t.Errorf("it says %s", out.String())
	}
}

func TestRetell(t *testing.T) {
	s := map[string]any{"observedGeneration": int64(3), "rollout": map[string]any{"generation": int64(2), "sequence": int64(3)},
		"conditions": []any{map[string]any{"observedGeneration": int64(3)}}}
	retell(s, 3, 1)
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(b), `{"conditions":[{"observedGeneration":1}],"observedGeneration":1,"rollout":{"generation":0,"sequence":3}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// FuzzParse: a file that is no backup is refused, and nothing unknown comes out of one that is taken.
func FuzzParse(f *testing.F) {
	good, err := json.Marshal(content{Format: format, Objects: []unstructured.Unstructured{{Object: map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "a", "namespace": "b"}}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format":"wasmbed-backup/1","objects":[{"kind":"ClusterRole","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"x"}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parse(b)
		if err != nil {
			return
		}
		for _, o := range c.Objects {
			if o.GetKind() == "ClusterRole" || o.GetName() == "" {
				t.Errorf("%s %s", o.GetKind(), o.GetName())
			}
		}
	})
}
