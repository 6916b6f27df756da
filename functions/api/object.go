package api

import (
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

func (a *API) objectRoutes() []route {
	const ns = "/api/v1/namespaces/:namespace"
	return []route{
		{"PUT", ns + "/gateways/:name", "update", "gateways", a.putGateway},
		{"DELETE", ns + "/gateways/:name", "delete", "gateways", a.deleteGateway},
		{"POST", ns + "/modules", "create", "modules", a.createModule},
		{"GET", ns + "/modules/:name", "get", "modules", a.getModule},
		{"DELETE", ns + "/modules/:name", "delete", "modules", a.deleteModule},
		{"POST", ns + "/applications/:name/stop", "update", "applications", a.stopApplication},
		{"POST", ns + "/applications/:name/start", "update", "applications", a.startApplication},
	}
}

// putGateway creates the gateway or makes its spec the given one.
func (a *API) putGateway(w http.ResponseWriter, r *request) error {
	var in v1alpha1.Gateway
	if err := decode(r, &in); err != nil {
		return err
	}
	if (in.Name != "" && in.Name != r.name) || (in.Namespace != "" && in.Namespace != r.namespace) {
		return errs.New(errs.Invalid, "the body is %s/%s, the path says %s/%s", in.Namespace, in.Name, r.namespace, r.name)
	}
	in.Name, in.Namespace, in.Status = r.name, r.namespace, v1alpha1.GatewayStatus{}
	have, err := a.Client.Gateways.Get(r.Context(), r.namespace, r.name)
	switch {
	case errs.Is(err, errs.NotFound) && len(wanted(r)) > 0:
		return errs.New(errs.Conflict, "gateway %s was removed since you read it", r.name)
	case errs.Is(err, errs.NotFound):
		made, err := a.Client.Gateways.Create(r.Context(), &in)
		if err != nil {
			return err
		}
		a.audit(r, "created", "")
		return writeJSON(w, http.StatusCreated, made)
	case err != nil:
		return err
	}
	if err := ifMatch(r, have.ResourceVersion); err != nil {
		return err
	}
	have.Spec = in.Spec
	made, err := a.Client.Gateways.Update(r.Context(), have)
	if err != nil {
		return err
	}
	a.audit(r, "updated", "")
	return writeJSON(w, http.StatusOK, made)
}

func (a *API) deleteGateway(w http.ResponseWriter, r *request) error {
	if err := remove(r, a.Client.Gateways); err != nil {
		return err
	}
	a.audit(r, "deleted", "")
	return writeJSON(w, http.StatusAccepted, map[string]string{"status": "deleting"})
}

// moduleBody is a module to be kept. Its name is made of its digest, so that the same bytes are one Module.
type moduleBody struct {
	Bytes []byte `json:"bytes"` // base64
}

// moduleAnswer is a module without its bytes, and what can be said of it.
type moduleAnswer struct {
	Name       string      `json:"name"`
	Created    bool        `json:"created"`
	Inspection *inspection `json:"inspection"`
}

// createModule keeps a module under the name of its content.
func (a *API) createModule(w http.ResponseWriter, r *request) error {
	var body moduleBody
	if err := decode(r, &body); err != nil {
		return err
	}
	i, err := a.look(body.Bytes)
	if err != nil {
		return err
	}
	if i.Problem != "" {
		return errs.New(errs.Invalid, "no device would take it: %s", i.Problem)
	}
	ans := moduleAnswer{Name: "m-" + strings.TrimPrefix(i.Digest, "sha256:")[:16], Inspection: i}
	m := &v1alpha1.Module{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: ans.Name}}
	m.Spec.Bytes, m.Spec.Digest = body.Bytes, i.Digest
	_, err = a.Client.Modules.Create(r.Context(), m)
	if errs.Is(err, errs.AlreadyExists) {
		have, err := a.Client.Modules.Get(r.Context(), r.namespace, ans.Name)
		if err != nil {
			return err
		}
		if module.Digest(have.Spec.Bytes) != i.Digest {
			return errs.New(errs.Conflict, "a module named %s has other bytes", ans.Name)
		}
		return writeJSON(w, http.StatusOK, ans)
	}
	if err != nil {
		return err
	}
	a.audit(r, "created", ans.Name)
	ans.Created = true
	return writeJSON(w, http.StatusCreated, ans)
}

func (a *API) getModule(w http.ResponseWriter, r *request) error {
	m, err := a.Client.Modules.Get(r.Context(), r.namespace, r.name)
	if err != nil {
		return err
	}
	if r.URL.Query().Get("bytes") != "true" {
		m.Spec.Bytes = nil
	}
	return writeJSON(w, http.StatusOK, m)
}

func (a *API) deleteModule(w http.ResponseWriter, r *request) error {
	if err := remove(r, a.Client.Modules); err != nil {
		return err
	}
	a.audit(r, "deleted", "")
	return writeJSON(w, http.StatusAccepted, map[string]string{"status": "deleting"})
}

func (a *API) stopApplication(w http.ResponseWriter, r *request) error {
	return a.setState(w, r, v1alpha1.RunStateStopped)
}

func (a *API) startApplication(w http.ResponseWriter, r *request) error {
	return a.setState(w, r, v1alpha1.RunStateRunning)
}

// setState has an application run on its devices, or stop there without being removed.
func (a *API) setState(w http.ResponseWriter, r *request, to v1alpha1.RunState) error {
	for try := 1; ; try++ {
		app, err := a.Client.Applications.Get(r.Context(), r.namespace, r.name)
		if err != nil {
			return err
		}
		if app.Spec.State != to {
			app.Spec.State = to
			app, err = a.Client.Applications.Update(r.Context(), app)
			if errs.Is(err, errs.Conflict) && try < maxTries {
				continue
			}
			if err != nil {
				return err
			}
			a.audit(r, "state", string(to))
		}
		return writeJSON(w, http.StatusOK, app)
	}
}
