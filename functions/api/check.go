package api

import (
	"net/http"
	"strings"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/validate"
)

// checked returns a client that judges what people write as the admission webhooks of a cluster do; where none stand
// behind the API server, this is where a wrong object is refused.
func checked(d Deps) *client.Set {
	if d.Client == nil { // the routes are only listed
		return nil
	}
	boards := make([]validate.Board, len(d.Boards))
	for i, b := range d.Boards {
		boards[i] = validate.Board{Name: b.Name, Refused: b.Refused, QEMU: b.QEMU != "", Renode: b.Renode != "", ModuleMemory: b.ModuleMemory, ModuleSize: b.ModuleSize}
	}
	return validate.Guarded(d.Client, validate.New(validate.Client{Set: d.Client}, boards, d.Now))
}

// warnings has the answer carry what is worth a word, as the Kubernetes API does (RFC 7234, Warning: 299).
func warnings(w http.ResponseWriter, r *http.Request) *http.Request {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	return r.WithContext(validate.Listen(r.Context(), func(text string) {
		w.Header().Add("Warning", `299 - "`+quote.Replace(text)+`"`)
	}))
}
