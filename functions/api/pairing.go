package api

import (
	"context"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// maxPairing is how long a pairing window may be open at most: unknown devices come in through it.
const maxPairing = 24 * time.Hour

type pairingBody struct {
	For      string `json:"for"`                // a duration like 10m
	Approval string `json:"approval,omitempty"` // Manual or Automatic; as it is when not given
}

// openPairing lets unknown devices ask for a time.
func (a *API) openPairing(w http.ResponseWriter, r *request) error {
	var body pairingBody
	if err := decode(r, &body); err != nil {
		return err
	}
	d, err := time.ParseDuration(body.For)
	if err != nil || d <= 0 || d > maxPairing {
		return errs.New(errs.Invalid, "for %q: a duration up to %v, like 10m", body.For, maxPairing)
	}
	switch body.Approval {
	case "", v1alpha1.PairingAutomatic, v1alpha1.PairingManual:
	default:
		return errs.New(errs.Invalid, "approval is %s or %s", v1alpha1.PairingManual, v1alpha1.PairingAutomatic)
	}
	until := metav1.NewTime(a.Now().Add(d).Truncate(time.Second))
	return a.setPairing(w, r, &until, body.Approval)
}

func (a *API) closePairing(w http.ResponseWriter, r *request) error {
	return a.setPairing(w, r, nil, "")
}

func (a *API) setPairing(w http.ResponseWriter, r *request, until *metav1.Time, approval string) error {
	g, err := a.changeGateway(r.Context(), r.namespace, r.name, func(g *v1alpha1.Gateway) {
		g.Spec.Pairing.Until = until
		if approval != "" {
			g.Spec.Pairing.Approval = approval
		}
	})
	if err != nil {
		return err
	}
	word := "closed"
	if until != nil {
		word = "open until " + until.UTC().Format(time.RFC3339)
	}
	a.audit(r, "pairing", word)
	return writeJSON(w, http.StatusOK, g)
}

func (a *API) changeGateway(ctx context.Context, ns, name string, change func(*v1alpha1.Gateway)) (*v1alpha1.Gateway, error) {
	for try := 1; ; try++ {
		g, err := a.Client.Gateways.Get(ctx, ns, name)
		if err != nil {
			return nil, err
		}
		change(g)
		g, err = a.Client.Gateways.Update(ctx, g)
		if errs.Is(err, errs.Conflict) && try < maxTries {
			continue
		}
		return g, err
	}
}

// enrollments are the devices that wait for a person, with what they said of themselves.
func (a *API) enrollments(w http.ResponseWriter, r *request) error {
	after, n, err := page(r)
	if err != nil {
		return err
	}
	views, next, err := a.filtered(r.Context(), r.namespace, after, n, &deviceFilter{pending: true})
	if err != nil {
		return err
	}
	items := []any{}
	for _, v := range views {
		d, err := a.Client.Devices.Get(r.Context(), r.namespace, v.Device.Name)
		if errs.Is(err, errs.NotFound) {
			continue
		}
		if err != nil {
			return err
		}
		items = append(items, d)
	}
	return writeJSON(w, http.StatusOK, listAnswer[any]{items, next})
}
