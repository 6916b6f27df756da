package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// maxTries bounds how often a write is tried again after somebody else's.
const maxTries = 5

func (a *API) approve(w http.ResponseWriter, r *request) error {
	return a.setApproval(w, r, v1alpha1.ApprovalApproved)
}

func (a *API) reject(w http.ResponseWriter, r *request) error {
	return a.setApproval(w, r, v1alpha1.ApprovalRejected)
}

func (a *API) revoke(w http.ResponseWriter, r *request) error {
	return a.setApproval(w, r, v1alpha1.ApprovalRevoked)
}

func (a *API) setApproval(w http.ResponseWriter, r *request, to v1alpha1.Approval) error {
	for try := 1; ; try++ {
		d, err := a.Client.Devices.Get(r.Context(), r.namespace, r.name)
		if err != nil {
			return err
		}
		if d.Spec.Approval != to {
			d.Spec.Approval = to
			d, err = a.Client.Devices.Update(r.Context(), d)
			if errs.Is(err, errs.Conflict) && try < maxTries {
				continue
			}
			if err != nil {
				return err
			}
			a.audit(r, "approval", string(to))
		}
		return writeJSON(w, http.StatusOK, d)
	}
}

// putApplication creates the application or makes its spec the given one. The body is an Application;
// what it says of name and namespace must agree with the path. With ?ifAbsent=true it only creates.
func (a *API) putApplication(w http.ResponseWriter, r *request) error {
	var in v1alpha1.Application
	if err := decode(r, &in); err != nil {
		return err
	}
	if (in.Name != "" && in.Name != r.name) || (in.Namespace != "" && in.Namespace != r.namespace) {
		return errs.New(errs.Invalid, "the body is %s/%s, the path says %s/%s", in.Namespace, in.Name, r.namespace, r.name)
	}
	in.Name, in.Namespace = r.name, r.namespace
	for try := 1; ; try++ {
		have, err := a.Client.Applications.Get(r.Context(), r.namespace, r.name)
		switch {
		case errs.Is(err, errs.NotFound) && len(wanted(r)) > 0:
			return errs.New(errs.Conflict, "application %s was removed since you read it", r.name)
		case errs.Is(err, errs.NotFound):
			made, err := a.Client.Applications.Create(r.Context(), &in)
			if errs.Is(err, errs.AlreadyExists) && try < maxTries {
				continue
			}
			if err != nil {
				return err
			}
			a.audit(r, "created", "")
			return writeJSON(w, http.StatusCreated, made)
		case err != nil:
			return err
		case r.URL.Query().Get("ifAbsent") == "true":
			return errs.New(errs.AlreadyExists, "application %s exists", r.name)
		}
		if err := ifMatch(r, have.ResourceVersion); err != nil {
			return err
		}
		have.Spec = in.Spec
		for k, v := range in.Labels {
			if have.Labels == nil {
				have.Labels = map[string]string{}
			}
			have.Labels[k] = v
		}
		made, err := a.Client.Applications.Update(r.Context(), have)
		if errs.Is(err, errs.Conflict) && try < maxTries {
			continue
		}
		if err != nil {
			return err
		}
		a.audit(r, "updated", "")
		return writeJSON(w, http.StatusOK, made)
	}
}

func (a *API) deleteApplication(w http.ResponseWriter, r *request) error {
	if err := remove(r, a.Client.Applications); err != nil {
		return err
	}
	a.audit(r, "deleted", "")
	return writeJSON(w, http.StatusAccepted, map[string]string{"status": "deleting"})
}

func (a *API) pause(w http.ResponseWriter, r *request) error  { return a.setPaused(w, r, true) }
func (a *API) resume(w http.ResponseWriter, r *request) error { return a.setPaused(w, r, false) }

func (a *API) setPaused(w http.ResponseWriter, r *request, to bool) error {
	for try := 1; ; try++ {
		app, err := a.Client.Applications.Get(r.Context(), r.namespace, r.name)
		if err != nil {
			return err
		}
		if app.Spec.Paused != to {
			app.Spec.Paused = to
			app, err = a.Client.Applications.Update(r.Context(), app)
			if errs.Is(err, errs.Conflict) && try < maxTries {
				continue
			}
			if err != nil {
				return err
			}
			a.audit(r, "paused", map[bool]string{true: "true", false: "false"}[to])
		}
		return writeJSON(w, http.StatusOK, app)
	}
}

type rollbackBody struct {
	To     string `json:"to,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// rollback asks for a rollback; function rollback decides. The answer is 202 with the event's id.
func (a *API) rollback(w http.ResponseWriter, r *request) error {
	var body rollbackBody
	if err := decode(r, &body); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if _, err := a.Client.Applications.Get(r.Context(), r.namespace, r.name); err != nil {
		return err
	}
	if body.To != "" {
		rev, err := a.Client.Revisions.Get(r.Context(), r.namespace, body.To)
		if err != nil {
			return err
		}
		if rev.Spec.Application != r.name {
			return errs.New(errs.Invalid, "%s is a revision of application %s", body.To, rev.Spec.Application)
		}
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return errs.New(errs.Internal, "make an id: %w", err)
	}
	e, err := event.New(event.RollbackRequested, "/wasmbed/functions/api", r.namespace+"/"+r.name, hex.EncodeToString(id),
		event.RollbackRequest{Namespace: r.namespace, Application: r.name, To: body.To, Reason: body.Reason, By: r.user.Name}, event.In(r.namespace))
	if err != nil {
		return err
	}
	e.SetTime(a.Now())
	if err := a.Events.Post(r.Context(), e); err != nil {
		return err
	}
	a.audit(r, "rollback", body.To)
	return writeJSON(w, http.StatusAccepted, map[string]string{"event": e.ID()})
}

// audit leaves a trace of a mutation: in the log, and as an event for whoever keeps such. It comes after the effect: what
// is in it happened. An event that the broker does not take is in the log all the same.
func (a *API) audit(r *request, what, value string) {
	a.Log.Info("audit", "user", r.user.Name, "what", what, "value", value, "path", r.URL.Path)
	subject := r.namespace
	if r.name != "" {
		subject += "/" + r.name
	}
	if subject == "" {
		subject = "-"
	}
	opts := []event.Option{event.At(a.Now())}
	if r.namespace != "" {
		opts = append(opts, event.In(r.namespace))
	}
	e, err := event.New(event.AuditRecorded, "/wasmbed/functions/api", subject, "", event.Audit{
		User: r.user.Name, Groups: r.user.Groups, Method: r.Method, Path: r.URL.Path, Namespace: r.namespace, Name: r.name, What: what, Value: value,
		Address: r.RemoteAddr, Time: a.Now().UTC(),
	}, opts...)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), auditPatience)
		defer cancel()
		err = a.Events.Post(ctx, e)
	}
	if err != nil {
		a.Log.Warn("the audit event was not taken", "user", r.user.Name, "what", what, "path", r.URL.Path, "err", err)
	}
}

// decode reads a JSON body strictly: an unknown field is an error, because a misspelt one would be lost
// without a word.
func decode(r *request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		if errors.Is(err, io.EOF) {
			return errs.New(errs.Invalid, "the body is empty; it is a JSON object: %w", io.EOF)
		}
		var tooBig *http.MaxBytesError
		if errors.As(err, &tooBig) {
			return err
		}
		return errs.New(errs.Invalid, "the body is not what is expected here: %w", err)
	}
	if d.More() {
		return errs.New(errs.Invalid, "there is something behind the body's JSON value")
	}
	return nil
}
