package api

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"wasmbed.io/wasmbed/internal/errs"
)

// Limits of the logs of parts.
const (
	maxPartLines = 2000
	defPartLines = 200
)

// PartLogs are the logs of the platform's own parts.
type PartLogs interface {
	// Names are the parts that have a log.
	Names(ctx context.Context) ([]string, error)
	// Tail returns the last lines of a part's log, oldest first. Errors: NotFound, Unavailable.
	Tail(ctx context.Context, part string, lines int) ([]string, error)
}

// Part is one of the platform's own parts.
type Part struct {
	Name    string       `json:"name"`
	Healthy bool         `json:"healthy"`
	Message string       `json:"message,omitempty"` // what is wrong
	Log     bool         `json:"log"`               // its log can be read here
	Figures *partFigures `json:"figures,omitempty"` // of its process
}

// partLog is the end of a part's log.
type partLog struct {
	Part  string   `json:"part"`
	Lines []string `json:"lines"` // oldest first
}

func (a *API) partRoutes() []route {
	return []route{
		{"GET", "/api/v1/parts", "list", "gateways", a.listParts},
		{"GET", "/api/v1/parts/:name/logs", "get", "parts/logs", a.partLogs},
	}
}

// listParts says of each part how it is and what it takes.
func (a *API) listParts(w http.ResponseWriter, r *request) error {
	a.meters.fresh(r.Context())
	by := map[string]*Part{"api": {Name: "api", Healthy: true}}
	at := func(name string) *Part {
		if by[name] == nil {
			by[name] = &Part{Name: name, Healthy: true}
		}
		return by[name]
	}
	for name, word := range a.parts(r.Context()) {
		if p := at(name); word != "ok" {
			p.Healthy, p.Message = false, word
		}
	}
	for _, f := range a.meters.partsNow() {
		p := at(f.Name)
		if p.Figures = &f; !f.Healthy && p.Healthy {
			p.Healthy, p.Message = false, f.Message
		}
	}
	if a.PartLogs != nil {
		names, err := a.PartLogs.Names(r.Context())
		if err != nil {
			return err
		}
		for _, name := range names {
			at(name).Log = true
		}
	}
	items := []Part{}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		items = append(items, *by[name])
	}
	return writeJSON(w, http.StatusOK, listAnswer[Part]{Items: items})
}

func (m *meters) partsNow() []partFigures {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.parts)
}

// partLogs answers the end of a part's log.
func (a *API) partLogs(w http.ResponseWriter, r *request) error {
	n := defPartLines
	if s := r.URL.Query().Get("tail"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1 || n > maxPartLines {
			return errs.New(errs.Invalid, "tail is a number from 1 to %d", maxPartLines)
		}
	}
	if a.PartLogs == nil {
		return errs.New(errs.Unsupported, "the logs of the parts are not kept here").WithMend("kubectl logs -n wasmbed-system")
	}
	lines, err := a.PartLogs.Tail(r.Context(), r.name, n)
	if err != nil {
		return err
	}
	if lines == nil {
		lines = []string{}
	}
	return writeJSON(w, http.StatusOK, partLog{r.name, lines})
}
