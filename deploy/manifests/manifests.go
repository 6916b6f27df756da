// Package manifests reads kustomizations of this repository without kustomize: what is made of the base (the Helm chart, tests)
// needs no other tool. It knows `resources` (files and folders), `components`, `images` and JSON patches, and refuses
// everything else; a test compares it with kubectl's kustomize where there is one.
package manifests

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigyaml "sigs.k8s.io/yaml"

	"wasmbed.io/wasmbed/internal/errs"
)

// names that a kustomization may have.
var names = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

// maxDepth of kustomizations in each other.
const maxDepth = 8

type kustomization struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Resources  []string `json:"resources,omitempty"`
	Components []string `json:"components,omitempty"`
	Patches    []patch  `json:"patches,omitempty"`
	Images     []image  `json:"images,omitempty"`
}

type patch struct {
	Path   string  `json:"path,omitempty"`
	Patch  string  `json:"patch,omitempty"`
	Target *target `json:"target,omitempty"`
}

// target selects objects; what is empty selects all. Name is a regular expression of the whole name, as kustomize has it.
type target struct {
	Group         string `json:"group,omitempty"`
	Version       string `json:"version,omitempty"`
	Kind          string `json:"kind,omitempty"`
	Name          string `json:"name,omitempty"`
	Namespace     string `json:"namespace,omitempty"`
	LabelSelector string `json:"labelSelector,omitempty"`
}

type image struct {
	Name    string `json:"name"`
	NewName string `json:"newName,omitempty"`
	NewTag  string `json:"newTag,omitempty"`
	Digest  string `json:"digest,omitempty"`
}

// Objects returns the objects of a folder's kustomization, in the order in which they are named. Errors: errs.Invalid,
// errs.NotFound; both name the file.
func Objects(fsys fs.FS, folder string) ([]*unstructured.Unstructured, error) {
	return build(fsys, path.Clean(folder), nil, maxDepth)
}

func build(fsys fs.FS, folder string, before []*unstructured.Unstructured, depth int) ([]*unstructured.Unstructured, error) {
	if depth == 0 {
		return nil, errs.New(errs.Invalid, "%s: kustomizations are in each other deeper than %d", folder, maxDepth)
	}
	k, err := read(fsys, folder)
	if err != nil {
		return nil, err
	}
	out := before
	for _, r := range k.Resources {
		p := path.Join(folder, r)
		info, err := fs.Stat(fsys, p)
		if err != nil {
			return nil, errs.New(errs.NotFound, "%s: %w", folder, err)
		}
		var more []*unstructured.Unstructured
		if info.IsDir() {
			more, err = build(fsys, p, nil, depth-1)
		} else {
			more, err = decode(fsys, p)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	for _, c := range k.Components { // they see what is there already
		if out, err = build(fsys, path.Join(folder, c), out, depth-1); err != nil {
			return nil, err
		}
	}
	for i, p := range k.Patches {
		if err := p.apply(fsys, folder, out); err != nil {
			return nil, errs.New(errs.Invalid, "%s, patch %d: %w", folder, i+1, err)
		}
	}
	for _, o := range out {
		rename(o.Object, k.Images)
	}
	seen := map[string]bool{}
	for _, o := range out {
		id := o.GroupVersionKind().GroupKind().String() + " " + o.GetNamespace() + "/" + o.GetName()
		if seen[id] {
			return nil, errs.New(errs.Invalid, "%s: %s is there twice", folder, id)
		}
		seen[id] = true
	}
	return out, nil
}

func read(fsys fs.FS, folder string) (kustomization, error) {
	var k kustomization
	for _, name := range names {
		b, err := fs.ReadFile(fsys, path.Join(folder, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = sigyaml.UnmarshalStrict(b, &k)
		}
		if err != nil {
			return k, errs.New(errs.Invalid, "%s/%s: %w", folder, name, err)
		}
		return k, nil
	}
	return k, errs.New(errs.NotFound, "%s has no kustomization", folder)
}

func decode(fsys fs.FS, file string) ([]*unstructured.Unstructured, error) {
	b, err := fs.ReadFile(fsys, file)
	if err != nil {
		return nil, errs.New(errs.NotFound, "%w", err)
	}
	var out []*unstructured.Unstructured
	d := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(b)))
	for {
		doc, err := d.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, errs.New(errs.Invalid, "%s: %w", file, err)
		}
		var o map[string]any
		if err := sigyaml.UnmarshalStrict(doc, &o); err != nil {
			return nil, errs.New(errs.Invalid, "%s: %w", file, err)
		}
		if len(o) == 0 {
			continue
		}
		u := &unstructured.Unstructured{Object: o}
		if u.GetKind() == "" || u.GetAPIVersion() == "" || u.GetName() == "" {
			return nil, errs.New(errs.Invalid, "%s: a document is no object: kind %q, name %q", file, u.GetKind(), u.GetName())
		}
		out = append(out, u)
	}
}

func (p patch) apply(fsys fs.FS, folder string, objects []*unstructured.Unstructured) error {
	text := []byte(p.Patch)
	if p.Path != "" {
		b, err := fs.ReadFile(fsys, path.Join(folder, p.Path))
		if err != nil {
			return err
		}
		text = b
	}
	if p.Target == nil || p.Target.LabelSelector != "" {
		return errs.New(errs.Unsupported, "only JSON patches with a target of group, version, kind, name and namespace are read here")
	}
	j, err := sigyaml.YAMLToJSONStrict(text)
	if err != nil {
		return err
	}
	ops, err := jsonpatch.DecodePatch(j)
	if err != nil {
		return err
	}
	n := 0
	for _, o := range objects {
		if !p.Target.selects(o) {
			continue
		}
		n++
		in, err := json.Marshal(o.Object)
		if err != nil {
			return err
		}
		out, err := ops.Apply(in)
		if err != nil {
			return errs.New(errs.Invalid, "%s %s: %w", o.GetKind(), o.GetName(), err)
		}
		var m map[string]any
		if err := json.Unmarshal(out, &m); err != nil {
			return err
		}
		o.Object = m
	}
	if n == 0 {
		return errs.New(errs.Invalid, "it is for nobody: %+v", *p.Target)
	}
	return nil
}

func (t target) selects(o *unstructured.Unstructured) bool {
	gvk := o.GroupVersionKind()
	if t.Name != "" {
		if ok, err := regexp.MatchString("^(?:"+t.Name+")$", o.GetName()); err != nil || !ok {
			return false
		}
	}
	return (t.Group == "" || t.Group == gvk.Group) && (t.Version == "" || t.Version == gvk.Version) &&
		(t.Kind == "" || t.Kind == gvk.Kind) && (t.Namespace == "" || t.Namespace == o.GetNamespace())
}

// rename renames the images of all containers in an object.
func rename(v any, images []image) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if list, ok := e.([]any); ok && (k == "containers" || k == "initContainers") {
				for _, c := range list {
					if m, ok := c.(map[string]any); ok {
						if s, ok := m["image"].(string); ok {
							m["image"] = renamed(s, images)
						}
					}
				}
			}
			rename(e, images)
		}
	case []any:
		for _, e := range v {
			rename(e, images)
		}
	}
}

func renamed(s string, images []image) string {
	name, tag := s, ""
	if i := strings.LastIndex(s, ":"); i > strings.LastIndex(s, "/") {
		name, tag = s[:i], s[i:]
	}
	for _, i := range images {
		if i.Name != name {
			continue
		}
		if i.NewName != "" {
			name = i.NewName
		}
		switch {
		case i.Digest != "":
			tag = "@" + i.Digest
		case i.NewTag != "":
			tag = ":" + i.NewTag
		}
		break
	}
	return name + tag
}
