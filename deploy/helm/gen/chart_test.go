package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	texttemplate "text/template"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"wasmbed.io/wasmbed/deploy/manifests"
	"wasmbed.io/wasmbed/internal/apply"
)

const chartDir = "../wasmbed"

// TestCurrent: the chart that is committed is the one that is made.
func TestCurrent(t *testing.T) {
	want, err := chart(os.DirFS("../../.."))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(chartDir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(chartDir, p)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if want[name] != string(b) {
			t.Errorf("%s is not current: go generate ./deploy/helm/gen", name)
		}
		delete(want, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range want {
		t.Errorf("%s is missing: go generate ./deploy/helm/gen", name)
	}
}

// render does what `helm template` does, with the functions of text/template alone: the chart uses no others.
func render(t *testing.T, change func(map[string]any)) map[string]*unstructured.Unstructured {
	t.Helper()
	var values map[string]any
	b, err := os.ReadFile(filepath.Join(chartDir, "values.yaml"))
	if err == nil {
		err = yaml.UnmarshalStrict(b, &values)
	}
	if err != nil {
		t.Fatal(err)
	}
	change(values)
	files, err := filepath.Glob(filepath.Join(chartDir, "templates", "*.yaml"))
	if err != nil || len(files) != len(groups) {
		t.Fatalf("%d templates, %v", len(files), err)
	}
	out := map[string]*unstructured.Unstructured{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		tmpl, err := texttemplate.New(f).Option("missingkey=error").Parse(string(b))
		if err != nil {
			t.Fatal(err)
		}
		var made bytes.Buffer
		if err := tmpl.Execute(&made, map[string]any{"Values": values}); err != nil {
			t.Fatal(err)
		}
		objects, err := apply.Decode(made.Bytes())
		if err != nil {
			t.Fatalf("%s: %v\n%s", f, err, made.String())
		}
		for _, o := range objects {
			out[id(o)] = o
		}
	}
	return out
}

func id(o *unstructured.Unstructured) string {
	return o.GroupVersionKind().GroupKind().String() + " " + o.GetNamespace() + "/" + o.GetName()
}

func text1(t *testing.T, o *unstructured.Unstructured) string {
	b, err := json.Marshal(o.Object)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestAsBase: with the values that it has, the chart is the base and the backstop; only images have a tag.
func TestAsBase(t *testing.T) {
	got := render(t, func(map[string]any) {})
	for _, folder := range []string{"config", "config/components/backstop"} {
		objects, err := manifests.Objects(os.DirFS("../../.."), folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			if o.GetKind() == "CustomResourceDefinition" { // they are in crds/
				if _, err := os.Stat(filepath.Join(chartDir, "crds", o.GetName()+".yaml")); err != nil {
					t.Error(err)
				}
				continue
			}
			g := got[id(o)]
			if g == nil {
				t.Errorf("%s is missing", id(o))
				continue
			}
			have := text1(t, g)
			for _, image := range []string{"functions", "gateway", "webui", "admission"} {
				have = strings.ReplaceAll(have, `"wasmbed.io/`+image+`:dev"`, `"wasmbed.io/`+image+`"`)
			}
			if want := text1(t, o); have != want {
				t.Errorf("%s:\n%s\nthe base has\n%s", id(o), have, want)
			}
			delete(got, id(o))
		}
	}
	for name, o := range got {
		if o.GetKind() == "Job" && o.GetAnnotations()["helm.sh/hook"] == "post-install" {
			continue // config/authority, after the rest
		}
		t.Errorf("%s is not in the base", name)
	}
}

// TestValues: each value does what it says.
func TestValues(t *testing.T) {
	got := render(t, func(v map[string]any) {
		at := func(name string) map[string]any { return v[name].(map[string]any) }
		at("image")["prefix"], at("image")["tag"] = "registry.example.net/x/", "v2"
		at("gateway")["address"], at("gateway")["replicas"], at("gateway")["serviceType"] = "gw.example.net:8081", 5, "NodePort"
		at("broker")["class"], at("broker")["config"] = "Kafka", map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "namespace": "knative-eventing"}
		at("redis")["enabled"], at("admission")["enabled"] = false, false
		v["trustDomain"] = `a"b`
	})
	for name, want := range map[string]string{
		"Deployment.apps wasmbed-system/wasmbed-gateway":             `"replicas":5`,
		"Service wasmbed-system/wasmbed-gateway":                     `"type":"NodePort"`,
		"Service.serving.knative.dev wasmbed-system/enroll":          `"image":"registry.example.net/x/functions:v2"`,
		"Gateway.wasmbed.io default/default":                         `"address":"gw.example.net:8081"`,
		"Broker.eventing.knative.dev wasmbed-system/default":         `"eventing.knative.dev/broker.class":"Kafka"`,
		"ConfigMap wasmbed-system/wasmbed-config":                    `"WASMBED_TRUST_DOMAIN":"a\"b"`,
		"ApiServerSource.sources.knative.dev wasmbed-system/wasmbed": `"mode":"Reference"`,
	} {
		if o := got[name]; o == nil || !strings.Contains(text1(t, o), want) {
			t.Errorf("%s has no %s", name, want)
		}
	}
	if s := text1(t, got["Broker.eventing.knative.dev wasmbed-system/default"]); !strings.Contains(s, `"config":{"apiVersion":"v1","kind":"ConfigMap","name":"x","namespace":"knative-eventing"}`) {
		t.Errorf("the Broker's config: %s", s)
	}
	for _, name := range []string{"StatefulSet.apps wasmbed-system/wasmbed-redis", "Deployment.apps wasmbed-system/wasmbed-admission"} {
		if got[name] != nil {
			t.Errorf("%s is there", name)
		}
	}
}
