package observability

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// stateFile is kube-state-metrics' configuration of custom resources, as far as it is used.
type stateFile struct {
	Kind string
	Spec struct {
		Resources []struct {
			GroupVersionKind struct{ Group, Version, Kind string }
			MetricNamePrefix string
			ErrorLogV        int
			LabelsFromPath   map[string][]string
			Metrics          []struct {
				Name, Help string
				Each       struct {
					Type     string
					Gauge    *stateGauge
					StateSet *struct {
						LabelName string
						Path      []string
						List      []string
					}
				}
			}
		}
	}
}

type stateGauge struct {
	Path           []string
	LabelFromKey   string
	LabelsFromPath map[string][]string
	ValueFrom      []string
	NilIsZero      bool
}

// objects returns the metrics that kube-state-metrics makes with objects.yaml, each path looked up in the CRDs.
func objects(t *testing.T) map[string][]string {
	t.Helper()
	var f stateFile
	read(t, "objects.yaml", &f)
	schemas := schemas(t)
	out := map[string][]string{}
	for _, r := range f.Spec.Resources {
		k := r.GroupVersionKind
		schema := schemas[k.Group+"/"+k.Version+"/"+k.Kind]
		if schema == nil {
			t.Errorf("objects.yaml: there is no CRD of %+v", k)
			continue
		}
		base := []string{"customresource_group", "customresource_version", "customresource_kind"}
		for l := range r.LabelsFromPath {
			base = append(base, l)
		}
		for _, m := range r.Metrics {
			name, labels := r.MetricNamePrefix+"_"+m.Name, slices.Clone(base)
			var err error
			switch {
			case m.Each.Type == "Gauge" && m.Each.Gauge != nil:
				g := m.Each.Gauge
				var at *apiextensions.JSONSchemaProps
				if at, err = field(schema, g.Path); err != nil {
					break
				}
				if g.LabelFromKey != "" {
					labels = append(labels, g.LabelFromKey)
					if at.AdditionalProperties == nil {
						err = fmt.Errorf("%v is no map", g.Path)
						break
					}
					at = at.AdditionalProperties.Schema
				}
				if at.Type == "array" {
					at = at.Items.Schema
				}
				for l, path := range g.LabelsFromPath {
					labels = append(labels, l)
					if _, e := field(at, path); e != nil {
						err = e
					}
				}
				if value, e := field(at, g.ValueFrom); e != nil {
					err = e
				} else if value.Type == "object" || value.Type == "array" {
					err = fmt.Errorf("%v is no value", g.Path)
				}
			case m.Each.Type == "StateSet" && m.Each.StateSet != nil:
				s := m.Each.StateSet
				labels = append(labels, s.LabelName)
				var at *apiextensions.JSONSchemaProps
				if at, err = field(schema, s.Path); err != nil {
					break
				}
				var enum []string
				for _, e := range at.Enum {
					enum = append(enum, strings.Trim(string(e.Raw), `"`))
				}
				slices.Sort(enum)
				if list := slices.Sorted(slices.Values(s.List)); !slices.Equal(list, enum) {
					err = fmt.Errorf("its states are %v, of the CRD %v", list, enum)
				}
			default:
				err = fmt.Errorf("type %q", m.Each.Type)
			}
			if err != nil {
				t.Errorf("objects.yaml: %s: %v", name, err)
			}
			if _, twice := out[name]; twice || m.Help == "" {
				t.Errorf("objects.yaml: %s is there twice, or has no help", name)
			}
			out[name] = labels
		}
	}
	return out
}

func TestObjects(t *testing.T) {
	if m := objects(t); len(m) < 20 || !slices.Contains(m["wasmbed_object_application_condition"], "reason") {
		t.Errorf("%v", m)
	}
}

// schemas returns the schemas of the CRDs by group, version and kind.
func schemas(t *testing.T) map[string]*apiextensions.JSONSchemaProps {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "config/crd/wasmbed.io_*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no CRDs: %v", err)
	}
	out := map[string]*apiextensions.JSONSchemaProps{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensions.CustomResourceDefinition
		if err := yaml.Unmarshal(b, &crd); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		for _, v := range crd.Spec.Versions {
			out[crd.Spec.Group+"/"+v.Name+"/"+crd.Spec.Names.Kind] = v.Schema.OpenAPIV3Schema
		}
	}
	return out
}

// field finds what a path leads to. metadata is Kubernetes' own and not in the schema.
func field(s *apiextensions.JSONSchemaProps, path []string) (*apiextensions.JSONSchemaProps, error) {
	if len(path) == 2 && path[0] == "metadata" {
		switch path[1] {
		case "name", "namespace":
			return &apiextensions.JSONSchemaProps{Type: "string"}, nil
		case "generation":
			return &apiextensions.JSONSchemaProps{Type: "integer"}, nil
		}
	}
	for _, p := range path {
		next, ok := s.Properties[p]
		if !ok {
			return nil, fmt.Errorf("the CRD has no field %s of %v", p, path)
		}
		s = &next
	}
	return s, nil
}
