package hook

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// Limits of mappings.
const (
	maxPathSteps = 16
	maxFilled    = 16 << 10 // bytes of one field that is filled in
)

// Request is what rules look at: the body, when it is JSON, and the header.
type Request struct {
	Body   any
	Header http.Header
}

// Lookup returns what a path leads to: $ and steps .name, ["name"], [n] into the body, or header.NAME. Errors: Invalid for
// what is no path.
func (r Request) Lookup(path string) (v any, ok bool, err error) {
	if name, is := strings.CutPrefix(path, "header."); is {
		vs := r.Header.Values(name)
		if len(vs) == 0 || secretName.MatchString(name) { // nobody copies a signature or a token into an event
			return nil, false, nil
		}
		return vs[0], true, nil
	}
	steps, err := parsePath(path)
	if err != nil {
		return nil, false, err
	}
	v = r.Body
	for _, s := range steps {
		switch x := v.(type) {
		case map[string]any:
			if v, ok = x[s.name]; !ok || s.index >= 0 {
				return nil, false, nil
			}
		case []any:
			if s.index < 0 || s.index >= len(x) {
				return nil, false, nil
			}
			v = x[s.index]
		default:
			return nil, false, nil
		}
	}
	return v, v != nil, nil
}

type step struct {
	name  string
	index int // -1: a name
}

func parsePath(path string) ([]step, error) {
	bad := errs.New(errs.Invalid, "%q is not a path like $.a.b[0]", path)
	rest, ok := strings.CutPrefix(path, "$")
	if !ok {
		return nil, bad
	}
	var out []step
	for rest != "" {
		if len(out) == maxPathSteps {
			return nil, bad
		}
		switch rest[0] {
		case '.':
			n := strings.IndexAny(rest[1:], ".[")
			if n < 0 {
				n = len(rest) - 1
			}
			if n == 0 {
				return nil, bad
			}
			out = append(out, step{rest[1 : n+1], -1})
			rest = rest[n+1:]
		case '[':
			end := strings.IndexByte(rest, ']')
			if end < 2 {
				return nil, bad
			}
			in := rest[1:end]
			if in[0] == '"' || in[0] == '\'' {
				end = strings.Index(rest[2:], string(in[0])+"]")
				if end < 1 {
					return nil, bad
				}
				out = append(out, step{rest[2 : end+2], -1})
				rest = rest[end+4:]
				continue
			}
			n, err := strconv.Atoi(in)
			if err != nil || n < 0 {
				return nil, bad
			}
			out = append(out, step{"", n})
			rest = rest[end+1:]
		default:
			return nil, bad
		}
	}
	return out, nil
}

// Fits reports whether all conditions of a rule hold.
func (r Request) Fits(rule *v1alpha1.HookRule) (bool, error) {
	for _, c := range rule.When {
		v, ok, err := r.Lookup(c.Path)
		if err != nil || !ok {
			return false, err
		}
		if len(c.In) == 0 {
			continue
		}
		s, ok := plainText(v)
		if !ok || !oneOf(s, c.In) {
			return false, nil
		}
	}
	return true, nil
}

func oneOf(s string, of []string) bool {
	for _, w := range of {
		if begin, ok := strings.CutSuffix(w, "*"); w == s || ok && strings.HasPrefix(s, begin) {
			return true
		}
	}
	return false
}

// plainText is a value as a template writes it; lists and objects are not written.
func plainText(v any) (string, bool) {
	switch x := v.(type) {
	case string:
		return x, true
	case json.Number:
		return x.String(), true
	case bool:
		return strconv.FormatBool(x), true
	}
	return "", false
}

// Fill makes the fields of a rule's data. Errors: Invalid: a path is wrong, or leads nowhere.
func (r Request) Fill(data map[string]string) (map[string]any, error) {
	out := make(map[string]any, len(data))
	for field, text := range data {
		v, err := r.fill(text)
		if err != nil {
			return nil, errs.New(errs.Invalid, "field %s: %w", field, err)
		}
		out[field] = v
	}
	return out, nil
}

func (r Request) fill(text string) (any, error) {
	if strings.HasPrefix(text, "$") || strings.HasPrefix(text, "header.") {
		v, ok, err := r.Lookup(text)
		if err == nil && !ok {
			err = errs.New(errs.Invalid, "the request has nothing at %s", text)
		}
		return v, err
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(text, '{')
		if i < 0 || !strings.HasPrefix(text[i:], "{$") && !strings.HasPrefix(text[i:], "{header.") {
			if i >= 0 {
				b.WriteString(text[:i+1])
				text = text[i+1:]
				continue
			}
			b.WriteString(text)
			break
		}
		end := strings.IndexByte(text[i:], '}')
		if end < 0 {
			return nil, errs.New(errs.Invalid, "%q has no end of {", text)
		}
		path := text[i+1 : i+end]
		v, ok, err := r.Lookup(path)
		if err != nil {
			return nil, err
		}
		s, isText := plainText(v)
		if !ok || !isText {
			return nil, errs.New(errs.Invalid, "the request has no text at %s", path)
		}
		b.WriteString(text[:i])
		b.WriteString(s)
		if b.Len() > maxFilled {
			return nil, errs.New(errs.Invalid, "more than %d bytes", maxFilled)
		}
		text = text[i+end+1:]
	}
	return b.String(), nil
}
