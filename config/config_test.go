package config_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"

	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/config"
	"wasmbed.io/wasmbed/internal/apply"
	"wasmbed.io/wasmbed/internal/testkube"
)

var update = flag.Bool("update", false, "write what is generated here anew")

// TestSamplesAreCurrent: config/samples is testdata/samples with the committed modules in it.
func TestSamplesAreCurrent(t *testing.T) {
	templates, err := filepath.Glob("testdata/samples/*.yaml")
	if err != nil || len(templates) < 5 {
		t.Fatalf("%d templates, %v", len(templates), err)
	}
	for _, f := range templates {
		want := "# Generated from config/" + filepath.ToSlash(f) + " (go generate ./config).\n" + expand(t, read(t, f))
		path := filepath.Join("samples", filepath.Base(f))
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got := read(t, path); got != want {
			t.Errorf("%s is not current: go generate ./config", path)
		}
	}
	made, err := filepath.Glob("samples/*.yaml")
	if err != nil || len(made) != len(templates) {
		t.Errorf("%d samples of %d templates, %v", len(made), len(templates), err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// expand replaces @NAME.wasm@ by the module's base64, @sha256 NAME.wasm@ and @sha256 text TEXT@ by digests.
func expand(t *testing.T, s string) string {
	t.Helper()
	return regexp.MustCompile(`@[^@\n]+@`).ReplaceAllStringFunc(s, func(m string) string {
		m = strings.Trim(m, "@")
		if text, ok := strings.CutPrefix(m, "sha256 text "); ok {
			return digest([]byte(text))
		}
		name, sum := strings.CutPrefix(m, "sha256 ")
		b := []byte(read(t, filepath.Join("..", "firmware", "modules", name)))
		if sum {
			return digest(b)
		}
		return base64.StdEncoding.EncodeToString(b)
	})
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// objects decodes every document of a folder strictly: a field that the types do not have is an error.
func objects(t *testing.T, dir string) []runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme, rbacv1.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
	var out []runtime.Object
	err := fs.WalkDir(config.FS(), dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(config.FS(), path)
		if err != nil {
			return err
		}
		for i, doc := range regexp.MustCompile(`(?m)^---$`).Split(string(b), -1) {
			if strings.TrimSpace(doc) == "" {
				continue
			}
			o, _, err := strict.Decode([]byte(doc), nil, nil)
			if err != nil {
				t.Errorf("%s, document %d: %v", path, i+1, err)
				continue
			}
			out = append(out, o)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestStrictDecoding(t *testing.T) {
	for dir, least := range map[string]int{config.CRDs: 7, config.RBAC: 15, config.Samples: 8} {
		if n := len(objects(t, dir)); n < least {
			t.Errorf("%s has %d objects, %d are expected", dir, n, least)
		}
	}
}

// TestSampleModulesFitTheirManifests: what deploy would refuse is not shown as an example.
func TestSampleModulesFitTheirManifests(t *testing.T) {
	for _, o := range objects(t, config.Samples) {
		app, ok := o.(*v1alpha1.Application)
		if !ok || app.Spec.Module.Inline == nil {
			continue
		}
		app.Default()
		info, err := module.Inspect(app.Spec.Module.Inline)
		if err == nil {
			err = module.Check(info, app.Spec.Manifest)
		}
		if err != nil {
			t.Errorf("%s: %v", app.Name, err)
		}
	}
}

// TestAccountsOfRoles: every binding's role and every service account that is bound is there.
func TestAccountsOfRoles(t *testing.T) {
	have := map[string]bool{}
	all := objects(t, config.RBAC)
	for _, o := range all {
		m := o.(metav1.Object)
		have[o.GetObjectKind().GroupVersionKind().Kind+"/"+m.GetName()] = true
	}
	need := func(kind, name string) {
		if !have[kind+"/"+name] {
			t.Errorf("%s %s is bound and not there", kind, name)
		}
	}
	for _, o := range all {
		var ref rbacv1.RoleRef
		var subjects []rbacv1.Subject
		switch b := o.(type) {
		case *rbacv1.ClusterRoleBinding:
			ref, subjects = b.RoleRef, b.Subjects
		case *rbacv1.RoleBinding:
			ref, subjects = b.RoleRef, b.Subjects
		default:
			continue
		}
		need(ref.Kind, ref.Name)
		for _, s := range subjects {
			need(s.Kind, s.Name)
		}
	}
}

// TestApplies: all of it goes into a real API server, twice.
func TestApplies(t *testing.T) {
	s := testkube.StartBare(t)
	a, err := apply.New(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, dir := range []string{config.CRDs, config.RBAC, config.Samples} {
			os, err := apply.Files(config.FS(), dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Apply(t.Context(), os...); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The examples of the pages about the CRDs are true too.
	pages, err := filepath.Glob("../docs/spec/crds/*.md")
	if err != nil || len(pages) != 7 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, f := range pages {
		m := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(read(t, f))
		if m == nil {
			t.Errorf("%s has no example", f)
			continue
		}
		os, err := apply.Decode([]byte(m[1]))
		if err == nil {
			err = a.Apply(t.Context(), os...)
		}
		if err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}
