package api

import (
	"net/http"
)

func (a *API) trustRoutes() []route {
	return []route{{"GET", "/api/v1/namespaces/:namespace/trust", "list", "gateways", a.trust}}
}

// trustAnswer is what devices of a namespace verify their gateways by.
type trustAnswer struct {
	PEM string `json:"pem"`
}

func (a *API) trust(w http.ResponseWriter, r *request) error {
	pem, err := a.Ledger.Trust(r.Context(), r.namespace)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, trustAnswer{string(pem)})
}
