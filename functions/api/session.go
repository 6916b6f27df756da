package api

import (
	"errors"
	"io"
	"net/http"
	"time"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// Limits of ending sessions.
const (
	maxAway         = 24 * time.Hour // that a device may be sent away
	disconnectAsks  = 5              // times that its gateway is told, a told one may not have heard
	disconnectPause = 20 * time.Millisecond
	disconnectWait  = 5 * time.Second // for the session to end
)

func (a *API) sessionRoutes() []route {
	const ns = "/api/v1/namespaces/:namespace"
	return []route{
		{"POST", ns + "/devices/:name/disconnect", "create", "devices/disconnect", a.disconnect},
		{"POST", ns + "/gateways/:name/disable", "patch", "gateways", a.disableGateway},
		{"POST", ns + "/gateways/:name/enable", "patch", "gateways", a.enableGateway},
		{"PATCH", ns + "/gateways/:name", "patch", "gateways", a.patchGateway},
		{"GET", ns + "/revisions/:name", "get", "revisions", a.getRevision},
	}
}

// disconnectBody says how long the device is to stay away.
type disconnectBody struct {
	RetryAfter string `json:"retryAfter,omitempty"` // a duration like 30s; at once when not given
}

// disconnectAnswer is the session that was ended.
type disconnectAnswer struct {
	Status     string `json:"status"` // Disconnected
	Instance   string `json:"instance"`
	Epoch      uint64 `json:"epoch"`
	RetryAfter string `json:"retryAfter,omitempty"`
}

// disconnect ends a device's session: its gateway says goodbye, with a time before which it shall not come back. What the
// device runs goes on. The answer comes when the session has ended.
func (a *API) disconnect(w http.ResponseWriter, r *request) error {
	var body disconnectBody
	if err := decode(r, &body); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var away time.Duration
	if body.RetryAfter != "" {
		var err error
		if away, err = time.ParseDuration(body.RetryAfter); err != nil || away < 0 || away > maxAway {
			return errs.New(errs.Invalid, "retryAfter %q: a duration up to %v, like 30s", body.RetryAfter, maxAway)
		}
	}
	if _, err := a.Client.Devices.Get(r.Context(), r.namespace, r.name); err != nil {
		return err
	}
	d := event.Device{Namespace: r.namespace, Name: r.name}
	instance, epoch, err := a.Affinity.Owner(r.Context(), d)
	if errs.Is(err, errs.NotFound) {
		return errs.New(errs.Conflict, "%s has no session", r.name)
	}
	if err != nil {
		return err
	}
	if err := a.endSession(r, d, instance, epoch, away); err != nil {
		return err
	}
	a.audit(r, "disconnected", body.RetryAfter)
	return writeJSON(w, http.StatusOK, disconnectAnswer{"Disconnected", instance, epoch, body.RetryAfter})
}

// endSession tells the gateway and looks until the lease of that session is gone or a newer one's. A wake is a hint, so it
// is said again.
func (a *API) endSession(r *request, d event.Device, instance string, epoch uint64, away time.Duration) error {
	t := time.NewTicker(disconnectPause)
	defer t.Stop()
	looks := int(disconnectWait / disconnectPause)
	for i := range looks {
		if i%(looks/disconnectAsks) == 0 {
			if err := a.Affinity.Disconnect(r.Context(), d, instance, epoch, away); err != nil {
				return err
			}
		}
		select {
		case <-t.C:
		case <-r.Context().Done():
			return errs.New(errs.Unavailable, "nobody waits for it any more")
		}
		_, now, err := a.Affinity.Owner(r.Context(), d)
		switch {
		case errs.Is(err, errs.NotFound), err == nil && now != epoch:
			return nil
		case err != nil:
			return err
		}
	}
	return errs.New(errs.Unavailable, "gateway %s did not end the session of %s in time", instance, d.Name).WithMend("it may be gone: its lease then ends by itself; wasmbed status shows the gateways")
}

func (a *API) disableGateway(w http.ResponseWriter, r *request) error {
	return a.switchGateway(w, r, true)
}

func (a *API) enableGateway(w http.ResponseWriter, r *request) error {
	return a.switchGateway(w, r, false)
}

// switchGateway has a gateway's processes take no sessions and end those that they have, or take them again.
func (a *API) switchGateway(w http.ResponseWriter, r *request, off bool) error {
	was := false
	g, err := a.changeGateway(r.Context(), r.namespace, r.name, func(g *v1alpha1.Gateway) {
		was = g.Spec.Disabled
		g.Spec.Disabled = off
	})
	if err != nil {
		return err
	}
	if was != off {
		a.audit(r, map[bool]string{true: "disabled", false: "enabled"}[off], "")
	}
	return writeJSON(w, http.StatusOK, g)
}

func (a *API) patchGateway(w http.ResponseWriter, r *request) error {
	return patchObject(a, w, r, a.Client.Gateways)
}

func (a *API) getRevision(w http.ResponseWriter, r *request) error {
	v, err := a.Client.Revisions.Get(r.Context(), r.namespace, r.name)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, v)
}
