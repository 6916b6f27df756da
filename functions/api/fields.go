package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"

	"wasmbed.io/wasmbed/internal/errs"
)

// Limits of a selection of fields.
const (
	maxFields     = 64
	maxFieldsText = 2048 // bytes
)

// fieldWord is one step of a path. A key with a dot in it (a label's) is reached by what holds it.
var fieldWord = regexp.MustCompile(`^[A-Za-z0-9_/-]{1,64}$`)

// fields is a selection: what is asked for at each step; nil: all of it from here on.
type fields map[string]fields

// readFields reads ?fields=a,b.c; nil: everything is asked for. Errors: Invalid.
func readFields(r *http.Request) (fields, error) {
	text := strings.Join(r.URL.Query()["fields"], ",")
	if text == "" {
		return nil, nil
	}
	paths := strings.Split(text, ",")
	if len(text) > maxFieldsText || len(paths) > maxFields {
		return nil, errs.New(errs.Invalid, "fields: at most %d of them, %d bytes", maxFields, maxFieldsText)
	}
	out := fields{}
	for _, path := range paths {
		at, words := out, strings.Split(path, ".")
		for i, w := range words {
			if !fieldWord.MatchString(w) {
				return nil, errs.New(errs.Invalid, "fields: %q is not the path of a field", path).WithMend("like metadata.name,spec.board")
			}
			next, there := at[w]
			if there && next == nil {
				break // all of it is asked for already
			}
			if i == len(words)-1 {
				at[w] = nil
				break
			}
			if next == nil {
				next = fields{}
				at[w] = next
			}
			at = next
		}
	}
	return out, nil
}

// selecting is a writer of answers of which only some fields are asked for.
type selecting struct {
	http.ResponseWriter
	fields fields
}

// Unwrap lets http.ResponseController through.
func (s *selecting) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// of cuts a JSON answer down to the selection: a page's items, and each of them, or the one object. What is not there is
// left out without a word, as a field that is empty is.
func (f fields) of(answer []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(answer))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, errs.New(errs.Internal, "select fields: %w", err)
	}
	if page, ok := v.(map[string]any); ok {
		if items, ok := page["items"].([]any); ok {
			for i := range items {
				items[i] = f.cut(items[i])
			}
			return json.Marshal(page)
		}
	}
	return json.Marshal(f.cut(v))
}

// cut keeps what is selected of a value; in a list, of each of its elements.
func (f fields) cut(v any) any {
	if f == nil {
		return v
	}
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, next := range f {
			if x, ok := v[k]; ok {
				out[k] = next.cut(x)
			}
		}
		return out
	case []any:
		for i := range v {
			v[i] = f.cut(v[i])
		}
		return v
	}
	return v
}
