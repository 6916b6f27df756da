package apply

import (
	"testing"
	"testing/fstest"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"wasmbed.io/wasmbed/internal/errs"
)

func TestDecode(t *testing.T) {
	os, err := Decode([]byte("# a comment\n---\n\n---\nkind: A\napiVersion: v1\nmetadata: {name: a}\n---\n{\"kind\": \"B\", \"apiVersion\": \"v1\", \"metadata\": {\"name\": \"b\"}}\n"))
	if err != nil || len(os) != 2 || os[0].GetKind() != "A" || os[1].GetName() != "b" {
		t.Errorf("%v, %v", os, err)
	}
	for _, bad := range []string{"a: [", "kind: A", "metadata: {name: a}", "just text"} {
		if _, err := Decode([]byte(bad)); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestFiles(t *testing.T) {
	doc := func(name string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("{kind: A, apiVersion: v1, metadata: {name: " + name + "}}")}
	}
	fsys := fstest.MapFS{"d/b.yaml": doc("b"), "d/a.yaml": doc("a"), "d/readme.md": doc("x"), "d/sub/c.yaml": doc("c")}
	os, err := Files(fsys, "d")
	if err != nil || len(os) != 2 || os[0].GetName() != "a" || os[1].GetName() != "b" {
		t.Errorf("%v, %v", os, err)
	}
	if _, err := Files(fsys, "none"); err == nil {
		t.Error("a folder that is not there was read")
	}
}

func TestAge(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	crd := func(typ string, at time.Time) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"conditions": []any{
			map[string]any{"type": typ, "status": "True", "lastTransitionTime": at.Format(time.RFC3339)},
		}}}}
	}
	young := crd("Established", now)
	if !age(young, now) || age(young, now) {
		t.Error("a young one is moved once")
	}
	if age(crd("Established", now.Add(-time.Hour)), now) || age(crd("NamesAccepted", now), now) || age(&unstructured.Unstructured{Object: map[string]any{}}, now) {
		t.Error("another one was moved")
	}
}
