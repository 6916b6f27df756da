package manifests_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"wasmbed.io/wasmbed/deploy/manifests"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// places are all kustomizations of the repository that build by themselves.
var places = []string{"config", "config/first", "config/authority", "config/provisioner", "deploy/cluster/overlay", "deploy/k3s", "deploy/kafka", "deploy/rabbitmq", "deploy/redis-cluster"}

// TestAsKustomize: what is built here is what kubectl builds.
func TestAsKustomize(t *testing.T) {
	kubectl := os.Getenv("KUBECTL")
	if kubectl == "" {
		var err error
		if kubectl, err = exec.LookPath("kubectl"); err != nil {
			t.Log("not run: comparison with kubectl kustomize: there is no kubectl on PATH (or KUBECTL)")
			t.SkipNow()
		}
	}
	for _, place := range places {
		t.Run(place, func(t *testing.T) {
			out, err := exec.Command(kubectl, "kustomize", filepath.Join("../..", place)).Output()
			if err != nil {
				t.Fatalf("kubectl: %v", err)
			}
			want := map[string]string{}
			for _, doc := range strings.Split(string(out), "\n---\n") {
				var o map[string]any
				if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
					t.Fatal(err)
				}
				want[id(o)] = text(t, o)
			}
			objects, err := manifests.Objects(os.DirFS("../.."), place)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects {
				if got := text(t, o.Object); got != want[id(o.Object)] {
					t.Errorf("%s:\n%s\nkubectl has\n%s", id(o.Object), got, want[id(o.Object)])
				}
				delete(want, id(o.Object))
			}
			for name := range want {
				t.Errorf("%s is missing", name)
			}
		})
	}
}

func id(o map[string]any) string {
	u := unstructured.Unstructured{Object: o}
	return u.GroupVersionKind().String() + " " + u.GetNamespace() + "/" + u.GetName()
}

func text(t *testing.T, o map[string]any) string {
	b, err := json.MarshalIndent(o, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestRefused: what is not understood is not passed over.
func TestRefused(t *testing.T) {
	obj := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	head := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
	for name, files := range map[string]map[string]string{
		"nothing there":      {},
		"unknown field":      {"kustomization.yaml": head + "namePrefix: x\n"},
		"missing resource":   {"kustomization.yaml": head + "resources: [b.yaml]\n"},
		"strategic patch":    {"kustomization.yaml": head + "resources: [a.yaml]\npatches: [{patch: 'kind: x'}]\n", "a.yaml": obj},
		"patch for nobody":   {"kustomization.yaml": head + "resources: [a.yaml]\npatches: [{target: {kind: Secret}, patch: '[{op: remove, path: /x}]'}]\n", "a.yaml": obj},
		"patch that fails":   {"kustomization.yaml": head + "resources: [a.yaml]\npatches: [{target: {kind: ConfigMap}, patch: '[{op: remove, path: /x}]'}]\n", "a.yaml": obj},
		"twice":              {"kustomization.yaml": head + "resources: [a.yaml, b.yaml]\n", "a.yaml": obj, "b.yaml": obj},
		"no object":          {"kustomization.yaml": head + "resources: [a.yaml]\n", "a.yaml": "a: b\n"},
		"a key twice":        {"kustomization.yaml": head + "resources: [a.yaml]\n", "a.yaml": obj + "kind: Secret\n"},
		"itself":             {"kustomization.yaml": head + "resources: [../d]\n"},
		"resource is not ok": {"kustomization.yaml": head + "resources: [a.yaml]\n", "a.yaml": "{"},
	} {
		fsys := fstest.MapFS{"d/other": {}}
		for f, s := range files {
			fsys["d/"+f] = &fstest.MapFile{Data: []byte(s)}
		}
		if _, err := manifests.Objects(fsys, "d"); err == nil {
			t.Errorf("%s: built", name)
		}
	}
}

// FuzzObjects: no input brings it down.
func FuzzObjects(f *testing.F) {
	f.Add("resources: [a.yaml]\npatches: [{target: {kind: ConfigMap}, patch: '[{op: add, path: /data, value: {a: b}}]'}]\nimages: [{name: x, newTag: y}]\n", "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\nspec: {containers: [{image: x:1}]}\n")
	f.Add("components: [.]\n", "")
	f.Fuzz(func(t *testing.T, k, a string) {
		fsys := fstest.MapFS{"d/kustomization.yaml": {Data: []byte(k)}, "d/a.yaml": {Data: []byte(a)}}
		objects, err := manifests.Objects(fsys, "d")
		if err == nil {
			for _, o := range objects {
				_ = o.GetName()
			}
		}
	})
}
