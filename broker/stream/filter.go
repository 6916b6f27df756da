package stream

import (
	"regexp"
	"sort"
	"strings"

	"wasmbed.io/wasmbed/internal/errs"
)

// Filter decides whether a Trigger wants an event. The zero Filter wants all.
// Semantics: CloudEvents Subscriptions API as Knative reads it; an attribute that the event does not have
// matches nothing.
type Filter struct{ match func(getter) bool }

// getter returns an attribute of an event by its name, its canonical string.
type getter func(name string) (string, bool)

// Match reports whether the filter wants an event with these attributes.
func (f Filter) Match(get func(name string) (string, bool)) bool {
	return f.match == nil || f.match(get)
}

type filterYAML struct {
	All    []filterYAML      `json:"all,omitempty"`
	Any    []filterYAML      `json:"any,omitempty"`
	Not    *filterYAML       `json:"not,omitempty"`
	Exact  map[string]string `json:"exact,omitempty"`
	Prefix map[string]string `json:"prefix,omitempty"`
	Suffix map[string]string `json:"suffix,omitempty"`
	CESQL  string            `json:"cesql,omitempty"`
}

var attributeRE = regexp.MustCompile(`^[a-z][a-z0-9]{0,63}$`)

// attributesFilter is spec.filter: equality of all, where "" stands for any value of a present attribute.
func attributesFilter(want map[string]string) (Filter, error) {
	return ofAttributes(want, true, func(have, want string) bool { return want == "" || have == want })
}

func ofAttributes(want map[string]string, empty bool, ok func(have, want string) bool) (Filter, error) {
	type pair struct{ name, value string }
	var pairs []pair
	for k, v := range want {
		if !attributeRE.MatchString(k) {
			return Filter{}, errs.New(errs.Invalid, "attribute name %q", k)
		}
		if v == "" && !empty {
			return Filter{}, errs.New(errs.Invalid, "attribute %s with an empty value", k)
		}
		pairs = append(pairs, pair{k, v})
	}
	sort.Slice(pairs, func(i, j int) bool { return pairs[i].name < pairs[j].name })
	return Filter{func(get getter) bool {
		for _, p := range pairs {
			if have, there := get(p.name); !there || !ok(have, p.value) {
				return false
			}
		}
		return true
	}}, nil
}

func compileEach(ws []filterYAML, depth int) ([]Filter, error) {
	var fs []Filter
	for _, w := range ws {
		f, err := w.compile(depth + 1)
		if err != nil {
			return nil, err
		}
		fs = append(fs, f)
	}
	return fs, nil
}

func allOf(ws []filterYAML, depth int) (Filter, error) {
	fs, err := compileEach(ws, depth)
	if len(fs) == 1 {
		return fs[0], err
	}
	return Filter{func(get getter) bool {
		for _, f := range fs {
			if !f.Match(get) {
				return false
			}
		}
		return true
	}}, err
}

func anyOf(ws []filterYAML, depth int) (Filter, error) {
	fs, err := compileEach(ws, depth)
	return Filter{func(get getter) bool {
		for _, f := range fs {
			if f.Match(get) {
				return true
			}
		}
		return false
	}}, err
}

func (w filterYAML) compile(depth int) (Filter, error) {
	if depth > maxFilterDepth {
		return Filter{}, errs.New(errs.Invalid, "filters nest deeper than %d", maxFilterDepth)
	}
	dialects := 0
	for _, there := range []bool{len(w.All) > 0, len(w.Any) > 0, w.Not != nil, len(w.Exact) > 0, len(w.Prefix) > 0, len(w.Suffix) > 0, w.CESQL != ""} {
		if there {
			dialects++
		}
	}
	switch {
	case dialects > 1:
		return Filter{}, errs.New(errs.Invalid, "one filter with several dialects")
	case w.CESQL != "":
		return Filter{}, errs.New(errs.Unsupported, "cesql is not spoken by the embedded broker")
	case len(w.All) > 0:
		return allOf(w.All, depth)
	case len(w.Any) > 0:
		return anyOf(w.Any, depth)
	case w.Not != nil:
		f, err := w.Not.compile(depth + 1)
		return Filter{func(get getter) bool { return !f.Match(get) }}, err
	case len(w.Exact) > 0:
		return ofAttributes(w.Exact, false, func(have, want string) bool { return have == want })
	case len(w.Prefix) > 0:
		return ofAttributes(w.Prefix, false, strings.HasPrefix)
	case len(w.Suffix) > 0:
		return ofAttributes(w.Suffix, false, strings.HasSuffix)
	}
	return Filter{}, nil // an empty filter wants all
}
