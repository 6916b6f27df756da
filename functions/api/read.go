package api

import (
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// listAnswer is a page. Next is the cursor of the following one, empty at the end.
type listAnswer[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// page reads limit (1 to 500, default 100) and after.
func page(r *request) (after string, limit int, err error) {
	q := r.URL.Query()
	after, limit = q.Get("after"), defaultPage
	if len(after) > maxCursor {
		return "", 0, errs.New(errs.Invalid, "after is longer than %d bytes", maxCursor)
	}
	if s := q.Get("limit"); s != "" {
		limit, err = strconv.Atoi(s)
		if err != nil || limit < 1 || limit > maxPage {
			return "", 0, errs.New(errs.Invalid, "limit must be a number from 1 to %d", maxPage)
		}
	}
	return after, limit, nil
}

func condition(cs []metav1.Condition, kind string) *metav1.Condition {
	for i := range cs {
		if cs[i].Type == kind {
			return &cs[i]
		}
	}
	return nil
}

func (a *API) listDevices(w http.ResponseWriter, r *request) error {
	after, n, err := page(r)
	if err != nil {
		return err
	}
	f, err := filterOf(r)
	if err != nil {
		return err
	}
	var items []ledger.DeviceView
	var next string
	if f != nil {
		items, next, err = a.filtered(r.Context(), r.namespace, after, n, f)
	} else {
		items, next, err = a.Ledger.Devices(r.Context(), r.namespace, after, n)
	}
	if err != nil {
		return err
	}
	if items == nil {
		items = []ledger.DeviceView{}
	}
	return writeJSON(w, http.StatusOK, listAnswer[ledger.DeviceView]{items, next})
}

// deviceAnswer is what is wanted of a device (its object) beside what is so (the ledger's view).
type deviceAnswer struct {
	Object any               `json:"object"`
	View   ledger.DeviceView `json:"view"`
}

func (a *API) getDevice(w http.ResponseWriter, r *request) error {
	d, err := a.Client.Devices.Get(r.Context(), r.namespace, r.name)
	if err != nil {
		return err
	}
	v, err := a.Ledger.Device(r.Context(), event.Device{Namespace: r.namespace, Name: r.name})
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	setETag(w, d.ResourceVersion)
	return writeJSON(w, http.StatusOK, deviceAnswer{d, v})
}

// applicationAnswer is an Application with the counts of this moment.
type applicationAnswer struct {
	Object any            `json:"object"`
	Counts *ledger.Counts `json:"counts,omitempty"`
}

func (a *API) listApplications(w http.ResponseWriter, r *request) error {
	return list(w, r, a.Client.Applications)
}

func (a *API) getApplication(w http.ResponseWriter, r *request) error {
	app, err := a.Client.Applications.Get(r.Context(), r.namespace, r.name)
	if err != nil {
		return err
	}
	counts, err := a.Ledger.Counts(r.Context(), ledger.App{Namespace: r.namespace, Name: r.name})
	if err != nil {
		return err
	}
	setETag(w, app.ResourceVersion)
	return writeJSON(w, http.StatusOK, applicationAnswer{app, &counts})
}

func (a *API) applicationDevices(w http.ResponseWriter, r *request) error {
	after, n, err := page(r)
	if err != nil {
		return err
	}
	set := r.URL.Query().Get("set")
	items, next, err := a.Ledger.AppDevices(r.Context(), ledger.App{Namespace: r.namespace, Name: r.name}, set, after, n)
	if err != nil {
		return err
	}
	if items == nil {
		items = []event.Device{}
	}
	return writeJSON(w, http.StatusOK, listAnswer[event.Device]{items, next})
}

func (a *API) listGateways(w http.ResponseWriter, r *request) error {
	return list(w, r, a.Client.Gateways)
}

func (a *API) getGateway(w http.ResponseWriter, r *request) error {
	g, err := a.Client.Gateways.Get(r.Context(), r.namespace, r.name)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, g)
}

func (a *API) listRevisions(w http.ResponseWriter, r *request) error {
	return list(w, r, a.Client.Revisions)
}

// listModules leaves the bytes out: a list is for looking.
func (a *API) listModules(w http.ResponseWriter, r *request) error {
	after, n, err := page(r)
	if err != nil {
		return err
	}
	items, next, err := a.Client.Modules.List(r.Context(), r.namespace, client.ListOptions{Limit: int64(n), Continue: after, Labels: r.URL.Query().Get("labelSelector")})
	if err != nil {
		return err
	}
	for i := range items {
		items[i].Spec.Bytes = nil
	}
	return writeJSON(w, http.StatusOK, listAnswer[any]{anys(items), next})
}

func list[T any](w http.ResponseWriter, r *request, res client.Resource[T]) error {
	after, n, err := page(r)
	if err != nil {
		return err
	}
	items, next, err := res.List(r.Context(), r.namespace, client.ListOptions{Limit: int64(n), Continue: after, Labels: r.URL.Query().Get("labelSelector")})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, listAnswer[any]{anys(items), next})
}

func anys[T any](items []T) []any {
	out := make([]any, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	return out
}
