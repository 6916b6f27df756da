package observability

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// template is what has pods: a Deployment, a StatefulSet, a Knative Service.
type template struct {
	APIVersion string
	Kind       string
	Metadata   metav1.ObjectMeta
	Spec       struct {
		Template corev1.PodTemplateSpec
	}
}

// templates returns everything below a folder that makes pods.
func templates(t *testing.T, dir string) []template {
	t.Helper()
	var out []template
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".yaml") {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		for doc := range bytes.SplitSeq(b, []byte("\n---\n")) {
			var o template
			if yaml.Unmarshal(doc, &o) == nil && len(o.Spec.Template.Spec.Containers) > 0 {
				out = append(out, o)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestMonitors: what is to be scraped is there, with a port of that name.
func TestMonitors(t *testing.T) {
	all := append(templates(t, filepath.Join(root, "config")), templates(t, ".")...)
	b, err := os.ReadFile("monitors.yaml")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for doc := range bytes.SplitSeq(b, []byte("\n---\n")) {
		var m struct {
			Metadata metav1.ObjectMeta
			Spec     struct {
				Selector            metav1.LabelSelector
				PodMetricsEndpoints []struct{ Port, Path string }
			}
		}
		if err := yaml.Unmarshal(doc, &m); err != nil {
			t.Fatal(err)
		}
		n++
		s, err := metav1.LabelSelectorAsSelector(&m.Spec.Selector)
		if err != nil || len(m.Spec.PodMetricsEndpoints) != 1 {
			t.Fatalf("%s: %v", m.Metadata.Name, err)
		}
		found := 0
		for _, o := range all {
			if !s.Matches(labels.Set(o.Spec.Template.Labels)) {
				continue
			}
			found++
			port := m.Spec.PodMetricsEndpoints[0].Port
			if strings.HasPrefix(o.APIVersion, "serving.knative.dev/") {
				if port != "user-port" { // Knative calls a container's only port so
					t.Errorf("%s: Knative Service %s has no port %s", m.Metadata.Name, o.Metadata.Name, port)
				}
				continue
			}
			if !slices.ContainsFunc(o.Spec.Template.Spec.Containers, func(c corev1.Container) bool {
				return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == port })
			}) {
				t.Errorf("%s: %s %s has no port %s", m.Metadata.Name, o.Kind, o.Metadata.Name, port)
			}
		}
		if found == 0 {
			t.Errorf("%s selects nothing of config/ and deploy/observability", m.Metadata.Name)
		}
	}
	if n < 5 {
		t.Errorf("%d PodMonitors", n)
	}
}
