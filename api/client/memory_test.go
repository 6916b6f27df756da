package client_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

func application(name string) *v1alpha1.Application {
	return &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"for": "test"}},
		Spec:       v1alpha1.ApplicationSpec{Module: v1alpha1.ModuleSource{Name: "hello"}, Targets: v1alpha1.Targets{All: true}},
	}
}

func TestMemory(t *testing.T) {
	var changes []client.Change
	now := time.Unix(1_800_000_000, 0)
	set := client.NewMemoryWith(client.MemoryOptions{
		Now:      func() time.Time { return now },
		OnChange: func(c client.Change) { changes = append(changes, c) },
	})
	exercise(t, set)
	want := []client.Change{
		{Verb: "add", Kind: "Application", Namespace: "default", Name: "one"},
		{Verb: "update", Kind: "Application", Namespace: "default", Name: "one"},
		{Verb: "update", Kind: "Application", Namespace: "default", Name: "one"},
		{Verb: "update", Kind: "Application", Namespace: "default", Name: "one"},
		{Verb: "update", Kind: "Application", Namespace: "default", Name: "one"},
		{Verb: "update", Kind: "Application", Namespace: "default", Name: "one"}, // deletionTimestamp
		{Verb: "delete", Kind: "Application", Namespace: "default", Name: "one"},
	}
	if len(changes) < len(want) || !slices.Equal(changes[:len(want)], want) {
		t.Errorf("changes %v", changes)
	}
}

func TestMemoryFails(t *testing.T) {
	broken := errs.New(errs.Unavailable, "broken")
	set := client.NewMemoryWith(client.MemoryOptions{Fail: func(verb, resource, namespace, name string) error {
		if verb == "updatestatus" && resource == "applications" && name == "one" {
			return broken
		}
		return nil
	}})
	o, err := set.Applications.Create(t.Context(), application("one"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set.Applications.UpdateStatus(t.Context(), o); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := set.Applications.Get(ctx, "default", "one"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("cancelled: %v", err)
	}
}

// exercise is what the client and its twin must both do.
func exercise(t *testing.T, set *client.Set) {
	t.Helper()
	ctx := t.Context()
	apps := set.Applications
	code := func(err error, want errs.Code, doing string) {
		t.Helper()
		if errs.CodeOf(err) != want {
			t.Errorf("%s: code %q (%v), want %q", doing, errs.CodeOf(err), err, want)
		}
	}
	_, err := apps.Get(ctx, "default", "one")
	code(err, errs.NotFound, "get what is not there")
	_, err = apps.Get(ctx, "", "one")
	code(err, errs.Invalid, "get without a namespace")

	in := application("one")
	in.Finalizers = []string{v1alpha1.FinalizerDeploy}
	in.Status.Revision = "ignored"
	one, err := apps.Create(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if one.Generation != 1 || one.UID == "" || one.ResourceVersion == "" || one.Status.Revision != "" || one.Kind != "Application" {
		t.Errorf("created %+v", one)
	}
	if one.Spec.State != v1alpha1.RunStateRunning || one.Spec.Manifest.Health.Window.Duration != 10*time.Second ||
		len(one.Spec.Manifest.Permissions) != 3 || one.Spec.Rollout.MaxUnavailable.String() != "25%" {
		t.Errorf("defaults %+v", one.Spec)
	}
	_, err = apps.Create(ctx, application("one"))
	code(err, errs.AlreadyExists, "create twice")

	// A status write changes the status alone, and no generation.
	st := one.DeepCopy()
	st.Spec.Paused = true
	st.Status.Revision = "one-1"
	st, err = apps.UpdateStatus(ctx, st)
	if err != nil {
		t.Fatal(err)
	}
	if st.Generation != 1 || st.Spec.Paused || st.Status.Revision != "one-1" || st.ResourceVersion == one.ResourceVersion {
		t.Errorf("after a status write %+v", st)
	}
	_, err = apps.Update(ctx, one)
	code(err, errs.Conflict, "update of an old read")
	_, err = apps.UpdateStatus(ctx, one)
	code(err, errs.Conflict, "status update of an old read")
	none := st.DeepCopy()
	none.ResourceVersion = ""
	_, err = apps.Update(ctx, none)
	code(err, errs.Invalid, "update without resourceVersion")

	// A write of the metadata changes that alone; nothing is left of what is no more.
	md := st.DeepCopy()
	md.Spec.Paused, md.Status.Revision = true, "ignored"
	md.Labels, md.Annotations, md.Finalizers = map[string]string{"a": "1", "b": "2"}, map[string]string{"note": "n"}, []string{"wasmbed.io/deploy"}
	md, err = apps.UpdateMeta(ctx, md)
	if err != nil {
		t.Fatal(err)
	}
	if md.Generation != 1 || md.Spec.Paused || md.Status.Revision != "one-1" || len(md.Labels) != 2 || md.Annotations["note"] != "n" || len(md.Finalizers) != 1 {
		t.Errorf("after a write of the metadata %+v", md)
	}
	_, err = apps.UpdateMeta(ctx, st)
	code(err, errs.Conflict, "metadata update of an old read")
	md.Labels, md.Annotations, md.Finalizers = one.Labels, nil, one.Finalizers
	st, err = apps.UpdateMeta(ctx, md)
	if err != nil || len(st.Labels) != len(one.Labels) || len(st.Annotations) != 0 || len(st.Finalizers) != len(one.Finalizers) {
		t.Fatalf("after metadata went: %+v, %v", st, err)
	}

	// A spec write changes the spec, and the generation with it.
	sp := st.DeepCopy()
	sp.Spec.Paused = true
	sp.Spec.Manifest.Permissions = []v1alpha1.Permission{}
	sp.Status.Revision = "ignored"
	sp, err = apps.Update(ctx, sp)
	if err != nil {
		t.Fatal(err)
	}
	if sp.Generation != 2 || !sp.Spec.Paused || sp.Status.Revision != "one-1" {
		t.Errorf("after a spec write %+v", sp)
	}
	if sp.Spec.Manifest.Permissions == nil || len(sp.Spec.Manifest.Permissions) != 0 {
		t.Errorf("no permissions at all became %q", sp.Spec.Manifest.Permissions)
	}
	same, err := apps.Update(ctx, sp)
	if err != nil || same.ResourceVersion != sp.ResourceVersion {
		t.Errorf("an update that changes nothing: %v, %v", same, err)
	}

	// With a finalizer, deletion is a mark; without it, the object goes. Another version than the one named stays.
	code(apps.Delete(ctx, "default", "one", "1"), errs.Conflict, "delete another version")
	if err := apps.Delete(ctx, "default", "one", sp.ResourceVersion); err != nil {
		t.Fatal(err)
	}
	gone, err := apps.Get(ctx, "default", "one")
	if err != nil || gone.DeletionTimestamp == nil {
		t.Fatalf("deleted with a finalizer: %+v, %v", gone, err)
	}
	code(apps.Delete(ctx, "default", "one"), "", "delete again")
	gone.Finalizers = nil
	if _, err := apps.Update(ctx, gone); err != nil {
		t.Fatal(err)
	}
	_, err = apps.Get(ctx, "default", "one")
	code(err, errs.NotFound, "get after the finalizer is gone")
	code(apps.Delete(ctx, "default", "one"), errs.NotFound, "delete what is not there")

	// Pages, in order, and by label.
	for _, n := range []string{"c", "a", "e", "b", "d"} {
		o := application(n)
		o.Labels["name"] = n
		if _, err := apps.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	o := client.ListOptions{Labels: "for=test", Limit: 2}
	for pages := 0; ; pages++ {
		items, next, err := apps.List(ctx, "default", o)
		if err != nil || pages > 5 {
			t.Fatal(pages, err)
		}
		for _, it := range items {
			names = append(names, it.Name)
			if it.Kind != "Application" {
				t.Errorf("item without a kind: %+v", it.TypeMeta)
			}
		}
		if o.Continue = next; next == "" {
			break
		}
	}
	if !slices.Equal(names, []string{"a", "b", "c", "d", "e"}) {
		t.Errorf("listed %v", names)
	}
	items, _, err := apps.List(ctx, "", client.ListOptions{Labels: "name in (b,d)"})
	if err != nil || len(items) != 2 {
		t.Errorf("by label: %d, %v", len(items), err)
	}
	n := 0
	if err := client.All(ctx, apps, "default", "", func(*v1alpha1.Application) error { n++; return nil }); err != nil || n != 5 {
		t.Errorf("All: %d, %v", n, err)
	}
	_, err = set.Secrets.UpdateStatus(ctx, nil)
	code(err, errs.Unsupported, "status of a secret")
}
