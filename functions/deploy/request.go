package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/replay"
)

// byDigest is what an outside system may name of a registry: with a tag, what runs would change behind its back.
var byDigest = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}$`)

// Statuses of a DeployOutcome.
const (
	deployChanged   = "Changed"
	deployUnchanged = "Unchanged"
	deployRefused   = "Refused"
)

// requested sets an application's module because an outside system asked, once for each event: one that comes again after
// somebody chose another module changes nothing. What follows is as if a person had edited the Application.
func (f *Function) requested(ctx context.Context, e ce.Event) (*ce.Event, error) {
	r, err := event.Data[event.DeployRequest](e)
	if err != nil {
		return nil, err
	}
	if r.Namespace == "" || r.Application == "" || r.Module != "" && r.OCI != "" || r.Module == "" && r.OCI == "" && len(r.Spec) == 0 {
		return nil, errs.New(errs.Invalid, "a deploy request needs namespace, application, and module, oci or spec")
	}
	if reply, err := replay.Recall(ctx, f.d.Ledger, "deploy request", e); reply != nil || err != nil {
		return reply, err
	}
	out := event.DeployOutcome{Namespace: r.Namespace, Application: r.Application, Module: r.Module, OCI: r.OCI, By: r.By}
	for try := range requestTries {
		err = f.setModule(ctx, e.Time(), r, &out)
		if !errs.Is(err, errs.Conflict) || try == requestTries-1 {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	reply, err := event.New(event.DeployAnswered, source, r.Namespace+"/"+r.Application, event.ReplyID(e, "deploy request"), out, event.In(r.Namespace), event.At(f.d.Now()), event.After(e))
	if err != nil {
		return nil, err
	}
	// After the effect, unlike elsewhere: setting the same module twice is one change, and a request that was never carried
	// out must not be remembered as one that was.
	if err := replay.Remember(ctx, f.d.Ledger, "deploy request", e, &reply); err != nil {
		return nil, err
	}
	return &reply, nil
}

// requestTries bounds how often a write is tried again after somebody else's.
const requestTries = 5

// annotationRequested is when the request was made that chose the module: an older one does not choose after it, in
// whichever order they come.
const annotationRequested = "wasmbed.io/deploy-requested-at"

func (f *Function) setModule(ctx context.Context, at time.Time, r event.DeployRequest, out *event.DeployOutcome) error {
	refuse := func(reason, format string, args ...any) error {
		out.Status, out.Reason, out.Message = deployRefused, reason, fmt.Sprintf(format, args...)
		return nil
	}
	if r.OCI != "" && !byDigest.MatchString(r.OCI) {
		return refuse("NoDigest", "%q is not a reference with a digest (name@sha256:…)", r.OCI)
	}
	spec, err := specOf(r)
	if err != nil {
		return refuse("Invalid", "%v", err)
	}
	app, err := f.d.Client.Applications.Get(ctx, r.Namespace, r.Application)
	made := errs.Is(err, errs.NotFound) && spec != nil
	switch {
	case made:
		app = &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: r.Application}}
	case errs.Is(err, errs.NotFound):
		return refuse("NoApplication", "there is no application %s", r.Application)
	case err != nil:
		return err
	}
	var before *v1alpha1.Application
	if !made {
		before = app.DeepCopy()
	}
	if app.DeletionTimestamp != nil {
		return refuse("Deleting", "application %s is being removed", r.Application)
	}
	if r.Module != "" {
		if _, err := f.d.Client.Modules.Get(ctx, r.Namespace, r.Module); errs.Is(err, errs.NotFound) {
			return refuse("NoModule", "there is no module %s", r.Module)
		} else if err != nil {
			return err
		}
	}
	m := &app.Spec.Module
	if spec == nil && m.Name == r.Module && m.OCI == r.OCI && m.Inline == nil {
		out.Status, out.Generation = deployUnchanged, app.Generation
		return nil
	}
	if last, err := time.Parse(time.RFC3339Nano, app.Annotations[annotationRequested]); err == nil && at.Before(last) {
		return refuse("Superseded", "a request of %s was carried out already", last.Format(time.RFC3339))
	}
	if app.Annotations == nil {
		app.Annotations = map[string]string{}
	}
	if !at.IsZero() {
		app.Annotations[annotationRequested] = at.UTC().Format(time.RFC3339Nano)
	}
	if spec != nil && !sameSpec(app.Spec, *spec) {
		app.Spec = *spec
	}
	if r.Module != "" || r.OCI != "" {
		m.Name, m.OCI, m.Inline = r.Module, r.OCI, nil
	}
	if err := f.check.Application(ctx, before, app).Err(); err != nil {
		return refuse("Invalid", "%v", err)
	}
	was := app.Generation
	if made {
		app, err = f.d.Client.Applications.Create(ctx, app)
		if errs.Is(err, errs.AlreadyExists) {
			return errs.New(errs.Conflict, "%w", err) // somebody else was faster: it is given the spec
		}
	} else {
		app, err = f.d.Client.Applications.Update(ctx, app)
	}
	switch {
	case errs.Is(err, errs.Invalid):
		return refuse("Invalid", "%v", err)
	case err != nil:
		return err
	}
	out.Status, out.Generation = deployChanged, app.Generation
	if app.Generation == was {
		out.Status = deployUnchanged
	}
	return nil
}

// sameSpec reports whether two specs ask for the same, said in the same words or not.
func sameSpec(a, b v1alpha1.ApplicationSpec) bool {
	x, y := v1alpha1.Application{Spec: a}, v1alpha1.Application{Spec: b}
	x, y = *x.DeepCopy(), *y.DeepCopy()
	x.Default()
	y.Default()
	return equality.Semantic.DeepEqual(x.Spec, y.Spec)
}

// specOf reads the spec of a request strictly: a field that is misspelt would be lost without a word. nil: it has none.
func specOf(r event.DeployRequest) (*v1alpha1.ApplicationSpec, error) {
	if len(r.Spec) == 0 {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(r.Spec))
	d.DisallowUnknownFields()
	var s *v1alpha1.ApplicationSpec
	if err := d.Decode(&s); err != nil {
		return nil, errs.New(errs.Invalid, "spec: %w", err)
	}
	if s == nil {
		return nil, errs.New(errs.Invalid, "spec is null")
	}
	return s, nil
}
