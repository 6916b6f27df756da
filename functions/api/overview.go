package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/run"
)

// Limits of what is looked at for a page that shows everything.
const (
	overviewPage    = 500
	overviewApps    = 200
	overviewLasts   = time.Second // an overview is made so often, however many ask
	attentionMost   = 50
	certificateSoon = 24 * time.Hour
	heartbeatsAgo   = time.Hour // a device away for longer is a matter for a person
)

func (a *API) overviewRoutes() []route {
	return []route{
		{"GET", "/api/v1/whoami", "", "", a.whoami},
		{"GET", "/api/v1/system", "list", "gateways", a.system},
		{"GET", "/api/v1/namespaces/:namespace/overview", "list", "devices", a.overview},
		{"GET", "/api/v1/namespaces/:namespace/alerts", "list", "devices", a.alerts},
	}
}

// whoami says who the caller is, and in which namespaces there is something.
func (a *API) whoami(w http.ResponseWriter, r *request) error {
	spaces, err := a.Ledger.Namespaces(r.Context())
	if err != nil {
		return err
	}
	visible := []string{}
	for _, ns := range spaces {
		may, err := a.Auth.Allowed(r.Context(), r.user, Access{Verb: "list", Resource: "devices", Namespace: ns})
		if err != nil {
			return err
		}
		if may {
			visible = append(visible, ns)
		}
	}
	may := map[string]bool{}
	for _, ask := range []struct{ name, verb, resource, sub string }{
		{"events", "list", "events.wasmbed", ""}, {"status", "list", "gateways", ""},
	} {
		if may[ask.name], err = a.Auth.Allowed(r.Context(), r.user, Access{Verb: ask.verb, Resource: ask.resource, Subresource: ask.sub}); err != nil {
			return err
		}
	}
	if ns := r.URL.Query().Get("namespace"); ns != "" {
		rights, err := a.rightsIn(r.Context(), r.user, ns)
		if err != nil {
			return err
		}
		for name, is := range rights {
			may[name] = is
		}
	}
	groups := r.user.Groups
	if groups == nil {
		groups = []string{}
	}
	return writeJSON(w, http.StatusOK, map[string]any{"name": r.user.Name, "groups": groups, "namespaces": visible, "may": may})
}

func (a *API) system(w http.ResponseWriter, r *request) error {
	return writeJSON(w, http.StatusOK, map[string]any{"version": run.Version, "started": a.started.UTC(), "time": a.Now().UTC(), "parts": a.parts(r.Context())})
}

// parts asks every part how it is: "ok", or what is wrong.
func (a *API) parts(ctx context.Context) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	out := map[string]string{}
	note := func(name string, err error) {
		out[name] = "ok"
		if err != nil {
			out[name] = err.Error()
		}
	}
	gateways, err := a.Affinity.Instances(ctx)
	note("redis", err)
	if err == nil && len(gateways) == 0 {
		err = errs.New(errs.Unavailable, "no gateway is up")
	}
	note("gateway", err)
	for name, check := range a.Health {
		note(name, check(ctx))
	}
	return out
}

// Attention is something that a person should look at. ID stays the same as long as the cause does.
type Attention struct {
	ID       string    `json:"id"`
	Severity string    `json:"severity"` // critical, warning, info
	Kind     string    `json:"kind"`     // Part, Device, Application, Enrollment, Certificate, Board
	Name     string    `json:"name,omitempty"`
	Title    string    `json:"title"`
	Cause    string    `json:"cause,omitempty"`
	Mend     string    `json:"mend,omitempty"`
	Since    time.Time `json:"since,omitzero"`
}

// appSummary is an application on the overview.
type appSummary struct {
	Name     string         `json:"name"`
	Revision string         `json:"revision,omitempty"`
	Phase    string         `json:"phase"` // Ready, Progressing, Paused, RolledBack, Failed, Waiting
	Message  string         `json:"message,omitempty"`
	Counts   *ledger.Counts `json:"counts,omitempty"`
}

type overviewAnswer struct {
	Time         time.Time           `json:"time"`
	Devices      deviceSummary       `json:"devices"`
	Applications []appSummary        `json:"applications"`
	Gateways     []affinity.Instance `json:"gateways"`
	Attention    []Attention         `json:"attention"`
	Parts        map[string]string   `json:"parts"`
}

type deviceSummary struct {
	Known   int            `json:"known"`
	Online  int            `json:"online"`
	Offline int            `json:"offline"`
	Pending int            `json:"pending"` // wait for a person
	Held    int            `json:"held"`
	Boards  map[string]int `json:"boards"`
}

func (a *API) overview(w http.ResponseWriter, r *request) error {
	o, err := a.seen(r.Context(), r.namespace)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, o)
}

func (a *API) alerts(w http.ResponseWriter, r *request) error {
	o, err := a.seen(r.Context(), r.namespace)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, listAnswer[Attention]{Items: o.Attention})
}

// seen is the overview of a namespace, at most a second old: many look at it, and it walks the fleet.
func (a *API) seen(ctx context.Context, ns string) (*overviewAnswer, error) {
	a.overviewMu.Lock()
	defer a.overviewMu.Unlock()
	if o := a.overviews[ns]; o != nil && a.Now().Sub(o.Time) < overviewLasts {
		return o, nil
	}
	o, err := a.makeOverview(ctx, ns)
	if err != nil {
		return nil, err
	}
	if len(a.overviews) > 1000 { // namespaces come and go
		clear(a.overviews)
	}
	a.overviews[ns] = o
	return o, nil
}

func (a *API) makeOverview(ctx context.Context, ns string) (*overviewAnswer, error) {
	o := &overviewAnswer{Time: a.Now(), Devices: deviceSummary{Boards: map[string]int{}}, Applications: []appSummary{}, Attention: []Attention{}}
	o.Parts = a.parts(ctx)
	for name, word := range o.Parts {
		if word != "ok" {
			o.attend(Attention{ID: "part/" + name, Severity: "critical", Kind: "Part", Name: name, Title: name + " is not well", Cause: word, Mend: "the log of that part says more; wasmbed status"})
		}
	}
	var err error
	if o.Gateways, err = a.Affinity.Instances(ctx); err != nil {
		return nil, err
	}
	if o.Gateways == nil {
		o.Gateways = []affinity.Instance{}
	}
	if err := a.countDevices(ctx, ns, o); err != nil {
		return nil, err
	}
	apps, _, err := a.Client.Applications.List(ctx, ns, client.ListOptions{Limit: overviewApps})
	if err != nil {
		// The Kubernetes API may be away while devices go on: what is so is still shown.
		o.attend(Attention{ID: "kubernetes", Severity: "critical", Kind: "Part", Name: "kubernetes", Title: "the Kubernetes API does not answer", Cause: err.Error(), Mend: "devices go on; what is wanted cannot be changed until it is back"})
		return o, nil
	}
	for i := range apps {
		s := a.summary(ctx, &apps[i])
		o.Applications = append(o.Applications, s)
		if s.Phase == "RolledBack" || s.Phase == "Failed" {
			o.attend(Attention{ID: "application/" + s.Name, Severity: "warning", Kind: "Application", Name: s.Name, Title: fmt.Sprintf("%s: %s", s.Name, phaseTitle(s.Phase)), Cause: s.Message, Mend: "wasmbed explain app " + s.Name})
		}
	}
	return o, nil
}

func phaseTitle(p string) string {
	if p == "RolledBack" {
		return "a revision was given up and the former one runs"
	}
	return "it does not get to its devices"
}

func (o *overviewAnswer) attend(x Attention) {
	if len(o.Attention) < attentionMost {
		o.Attention = append(o.Attention, x)
	}
}

// summary says in one word how an application is.
func (a *API) summary(ctx context.Context, app *v1alpha1.Application) appSummary {
	s := appSummary{Name: app.Name, Revision: app.Status.Revision, Phase: "Waiting"}
	if c, err := a.Ledger.Counts(ctx, ledger.App{Namespace: app.Namespace, Name: app.Name}); err == nil {
		s.Counts = &c
	}
	ready, progressing, back := condition(app.Status.Conditions, "Ready"), condition(app.Status.Conditions, "Progressing"), condition(app.Status.Conditions, "RolledBack")
	switch {
	case back != nil && back.Status == "True":
		s.Phase, s.Message = "RolledBack", back.Message
	case app.Spec.Paused:
		s.Phase = "Paused"
	case ready != nil && ready.Status == "True":
		s.Phase, s.Message = "Ready", ready.Message
	case progressing != nil && progressing.Status == "True":
		s.Phase, s.Message = "Progressing", progressing.Message
	case ready != nil && ready.Status == "False" && s.Counts != nil && s.Counts.Desired > 0 && s.Counts.Failed == 0:
		s.Message = ready.Message // devices are held, or away: nothing is wrong with it
	case ready != nil && ready.Status == "False":
		s.Phase, s.Message = "Failed", ready.Message
	}
	return s
}

// countDevices counts what the index knows.
func (a *API) countDevices(ctx context.Context, ns string, o *overviewAnswer) error {
	now := a.Now()
	return a.index.with(ctx, ns, func(devices map[string]*ledger.DeviceView, names []string) {
		for _, name := range names {
			v := devices[name]
			if v.Known {
				o.Devices.Known++
			}
			o.count(v, now)
		}
	})
}

func (o *overviewAnswer) count(v *ledger.DeviceView, now time.Time) {
	name := v.Device.Name
	switch {
	case v.Online:
		o.Devices.Online++
	default:
		o.Devices.Offline++
		if !v.LastSeen.IsZero() && now.Sub(v.LastSeen) > heartbeatsAgo {
			o.attend(Attention{ID: "away/" + name, Severity: "warning", Kind: "Device", Name: name, Title: name + " has not been heard of", Since: v.LastSeen, Mend: "wasmbed explain device " + name})
		}
	}
	o.Devices.Boards[v.Board]++
	if v.Known && !v.Approved {
		o.Devices.Pending++
		o.attend(Attention{ID: "approve/" + name, Severity: "warning", Kind: "Enrollment", Name: name, Title: name + " waits for approval", Mend: "wasmbed approve " + name})
	}
	if v.Hold {
		o.Devices.Held++
	}
	if at, err := time.Parse(time.RFC3339, v.NotAfter); err == nil && at.Sub(now) < certificateSoon {
		o.attend(Attention{ID: "certificate/" + name, Severity: "warning", Kind: "Certificate", Name: name, Title: "the certificate of " + name + " ends soon and was not renewed", Since: at, Mend: "it renews by itself when it is connected; wasmbed logs " + name})
	}
	for _, app := range v.Apps {
		if app.Set == ledger.SetFailed {
			o.attend(Attention{ID: "failed/" + name + "/" + app.App, Severity: "warning", Kind: "Device", Name: name, Title: fmt.Sprintf("%s does not run what %s wants", name, app.App), Cause: because(app.Reason, app.Message), Since: app.Since, Mend: "wasmbed explain device " + name})
		}
	}
}

func because(reason, message string) string {
	switch {
	case message == "":
		return reason
	case reason == "":
		return message
	}
	return reason + ": " + message
}
