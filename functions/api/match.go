package api

import (
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/internal/errs"
)

// versionOf is an object's resource version, "" for what is none.
func versionOf(o any) string {
	if m, ok := o.(metav1.Object); ok {
		return m.GetResourceVersion()
	}
	return ""
}

func setETag(w http.ResponseWriter, version string) { w.Header().Set("ETag", `"`+version+`"`) }

// wanted reads If-Match: the versions that the caller has seen; none: any will do (RFC 9110 §13.1.1).
func wanted(r *request) []string {
	var out []string
	for _, line := range r.Header.Values("If-Match") {
		for _, tag := range strings.Split(line, ",") {
			switch tag = strings.TrimSpace(tag); tag {
			case "":
			case "*":
				return nil
			default:
				out = append(out, strings.Trim(tag, `"`))
			}
		}
	}
	return out
}

// ifMatch refuses a write to another version than the caller has seen.
func ifMatch(r *request, version string) error {
	if want := wanted(r); len(want) == 0 || slices.Contains(want, version) {
		return nil
	}
	return errs.New(errs.Conflict, "it was changed since you read it").WithMend("read it again and decide anew")
}

// remove asks for the removal of the object that the path names, of the version that the caller has seen where it says
// one: what was changed in between stays.
func remove[T any](r *request, res client.Resource[T]) error {
	want := wanted(r)
	if len(want) == 0 {
		return res.Delete(r.Context(), r.namespace, r.name)
	}
	o, err := res.Get(r.Context(), r.namespace, r.name)
	if err != nil {
		return err
	}
	version := versionOf(o)
	if err := ifMatch(r, version); err != nil {
		return err
	}
	return res.Delete(r.Context(), r.namespace, r.name, version)
}
