package api

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/labels"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// Limits of lists and of actions on many.
const (
	maxBulk   = 1000
	maxFilter = 256  // bytes of a filter's value
	timeline  = 2000 // recent events that are looked through for a device's
)

func (a *API) deviceRoutes() []route {
	const ns = "/api/v1/namespaces/:namespace"
	return []route{
		{"PATCH", ns + "/devices/:name", "patch", "devices", a.patchDevice},
		{"POST", ns + "/devices/:name/hold", "patch", "devices", a.hold},
		{"POST", ns + "/devices/:name/release", "patch", "devices", a.release},
		{"GET", ns + "/devices/:name/timeline", "get", "devices", a.timeline},
		{"POST", ns + "/bulk/devices", "patch", "devices", a.bulk},
		{"PATCH", ns + "/applications/:name", "patch", "applications", a.patchApplication},
		{"POST", ns + "/gateways/:name/pairing", "patch", "gateways", a.openPairing},
		{"DELETE", ns + "/gateways/:name/pairing", "patch", "gateways", a.closePairing},
		{"GET", ns + "/enrollments", "list", "devices", a.enrollments},
	}
}

// deviceFilter is what a list of devices is narrowed by.
type deviceFilter struct {
	text, board, app, set string
	online                *bool
	pending               bool
	selector              labels.Selector
}

// filterOf reads q, board, online, app, set, pending and labelSelector. nil: none is given.
func filterOf(r *request) (*deviceFilter, error) {
	q := r.URL.Query()
	f := &deviceFilter{text: strings.ToLower(q.Get("q")), board: q.Get("board"), app: q.Get("app"), set: q.Get("set"), pending: q.Get("pending") == "true"}
	given := f.pending
	for _, s := range []string{f.text, f.board, f.app, f.set, q.Get("labelSelector")} {
		if len(s) > maxFilter {
			return nil, errs.New(errs.Invalid, "a filter has at most %d bytes", maxFilter)
		}
		given = given || s != ""
	}
	switch o := q.Get("online"); o {
	case "":
	case "true", "false":
		v := o == "true"
		f.online, given = &v, true
	default:
		return nil, errs.New(errs.Invalid, "online is true or false")
	}
	if f.set != "" && f.app == "" {
		return nil, errs.New(errs.Invalid, "set is of an application: give app, too")
	}
	if f.set != "" && !slices.Contains(ledger.Sets(), f.set) {
		return nil, errs.New(errs.Invalid, "there is no work set %q", f.set).WithMend("it is one of %s", strings.Join(ledger.Sets(), ", "))
	}
	if s := q.Get("labelSelector"); s != "" {
		sel, err := labels.Parse(s)
		if err != nil {
			return nil, errs.New(errs.Invalid, "labelSelector: %w", err)
		}
		f.selector = sel
	}
	if !given {
		return nil, nil
	}
	return f, nil
}

func (f *deviceFilter) takes(v *ledger.DeviceView) bool {
	switch {
	case f.text != "" && !strings.Contains(v.Device.Name, f.text) && !strings.Contains(strings.ToLower(v.Board), f.text),
		f.board != "" && v.Board != f.board,
		f.online != nil && v.Online != *f.online,
		f.pending && (v.Approved || !v.Known),
		f.selector != nil && !f.selector.Matches(labels.Set(v.Labels)):
		return false
	}
	if f.app == "" {
		return true
	}
	return slices.ContainsFunc(v.Apps, func(x ledger.AppView) bool { return x.App == f.app && x.Set != "" && (f.set == "" || x.Set == f.set) })
}

// filtered returns a page of the devices that the filter takes, read fresh: one that moved away meanwhile is left out,
// so a page may have fewer items than there is room for.
func (a *API) filtered(ctx context.Context, ns, after string, n int, f *deviceFilter) ([]ledger.DeviceView, string, error) {
	names, more, err := a.index.matching(ctx, ns, after, n, f)
	if err != nil {
		return nil, "", err
	}
	devs := make([]event.Device, len(names))
	for i, name := range names {
		devs[i] = event.Device{Namespace: ns, Name: name}
	}
	views, err := a.Ledger.DevicesNamed(ctx, devs)
	if err != nil {
		return nil, "", err
	}
	out := make([]ledger.DeviceView, 0, len(views))
	for i := range views {
		if f.takes(&views[i]) {
			out = append(out, views[i])
		}
	}
	if !more {
		return out, "", nil
	}
	return out, names[len(names)-1], nil
}

func (a *API) patchDevice(w http.ResponseWriter, r *request) error {
	return patchObject(a, w, r, a.Client.Devices)
}

func (a *API) patchApplication(w http.ResponseWriter, r *request) error {
	return patchObject(a, w, r, a.Client.Applications)
}

// patchObject applies a JSON merge patch (RFC 7396) to labels, annotations and spec.
func patchObject[T any](a *API, w http.ResponseWriter, r *request, res client.Resource[T]) error {
	o, err := res.Get(r.Context(), r.namespace, r.name)
	if err != nil {
		return err
	}
	if err := ifMatch(r, versionOf(o)); err != nil {
		return err
	}
	if err := patch(r, o); err != nil {
		return err
	}
	if o, err = res.Update(r.Context(), o); err != nil {
		return err
	}
	a.audit(r, "patched", "")
	return writeJSON(w, http.StatusOK, o)
}

// patch applies the body to an object. What names the object and its status stay as they are.
func patch[T any](r *request, obj *T) error {
	var change struct {
		Metadata *struct {
			Labels      map[string]*string `json:"labels,omitempty"`
			Annotations map[string]*string `json:"annotations,omitempty"`
		} `json:"metadata,omitempty"`
		Spec json.RawMessage `json:"spec,omitempty"`
	}
	if err := decode(r, &change); err != nil {
		return err
	}
	body, err := json.Marshal(change)
	if err != nil {
		return errs.New(errs.Internal, "%w", err)
	}
	have, err := json.Marshal(obj)
	if err != nil {
		return errs.New(errs.Internal, "%w", err)
	}
	merged, err := jsonpatch.MergePatch(have, body)
	if err != nil {
		return errs.New(errs.Invalid, "the patch cannot be applied: %w", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(merged)))
	dec.DisallowUnknownFields()
	var fresh T
	*obj = fresh
	if err := dec.Decode(obj); err != nil {
		return errs.New(errs.Invalid, "the patch makes no object: %w", err)
	}
	return nil
}

func (a *API) hold(w http.ResponseWriter, r *request) error    { return a.setHold(w, r, true) }
func (a *API) release(w http.ResponseWriter, r *request) error { return a.setHold(w, r, false) }

func (a *API) setHold(w http.ResponseWriter, r *request, to bool) error {
	d, err := a.changeDevice(r.Context(), r.namespace, r.name, func(d *v1alpha1.Device) bool {
		was := d.Spec.Hold
		d.Spec.Hold = to
		return was != to
	})
	if err != nil {
		return err
	}
	a.audit(r, "hold", map[bool]string{true: "true", false: "false"}[to])
	return writeJSON(w, http.StatusOK, d)
}

// changeDevice reads, changes and writes, again when somebody else wrote meanwhile.
func (a *API) changeDevice(ctx context.Context, ns, name string, change func(*v1alpha1.Device) bool) (*v1alpha1.Device, error) {
	for try := 1; ; try++ {
		d, err := a.Client.Devices.Get(ctx, ns, name)
		if err != nil || !change(d) {
			return d, err
		}
		d, err = a.Client.Devices.Update(ctx, d)
		if errs.Is(err, errs.Conflict) && try < maxTries {
			continue
		}
		return d, err
	}
}

// bulkBody is one action on many devices.
type bulkBody struct {
	Action string             `json:"action"` // approve, reject, revoke, hold, release, delete, label
	Names  []string           `json:"names"`
	Labels map[string]*string `json:"labels,omitempty"` // of label; null removes
}

type bulkAnswer struct {
	Done   []string     `json:"done"`
	Failed []bulkFailed `json:"failed"`
}

type bulkFailed struct {
	Name  string `json:"name"`
	Error string `json:"error"`
	Code  string `json:"code"`
}

// bulk does one thing to many devices, each for itself: one that fails stops no other.
func (a *API) bulk(w http.ResponseWriter, r *request) error {
	var body bulkBody
	if err := decode(r, &body); err != nil {
		return err
	}
	if len(body.Names) == 0 || len(body.Names) > maxBulk {
		return errs.New(errs.Invalid, "%d names; 1 to %d", len(body.Names), maxBulk)
	}
	resource, verb := "devices", "update"
	var change func(*v1alpha1.Device) bool
	approval := func(to v1alpha1.Approval) {
		resource = "devices/approval"
		change = func(d *v1alpha1.Device) bool {
			was := d.Spec.Approval
			d.Spec.Approval = to
			return was != to
		}
	}
	switch body.Action {
	case "approve":
		approval(v1alpha1.ApprovalApproved)
	case "reject":
		approval(v1alpha1.ApprovalRejected)
	case "revoke":
		approval(v1alpha1.ApprovalRevoked)
	case "hold", "release":
		change = func(d *v1alpha1.Device) bool {
			was := d.Spec.Hold
			d.Spec.Hold = body.Action == "hold"
			return was != d.Spec.Hold
		}
	case "label":
		change = func(d *v1alpha1.Device) bool { return relabel(d, body.Labels) }
	case "delete":
		verb = "delete"
	default:
		return errs.New(errs.Invalid, "there is no action %q", body.Action).WithMend("it is one of approve, reject, revoke, hold, release, label, delete")
	}
	res, sub, _ := strings.Cut(resource, "/")
	may, err := a.Auth.Allowed(r.Context(), r.user, Access{Verb: verb, Resource: res, Subresource: sub, Namespace: r.namespace})
	if err != nil {
		return err
	}
	if !may {
		return errs.New(errs.Denied, "%s may not %s %s in namespace %s", r.user.Name, verb, resource, r.namespace)
	}
	ans := bulkAnswer{Done: []string{}, Failed: []bulkFailed{}}
	for _, name := range body.Names {
		if body.Action == "delete" {
			err = a.Client.Devices.Delete(r.Context(), r.namespace, name)
		} else {
			_, err = a.changeDevice(r.Context(), r.namespace, name, change)
		}
		if err != nil {
			ans.Failed = append(ans.Failed, bulkFailed{name, err.Error(), string(errs.CodeOf(err))})
			continue
		}
		ans.Done = append(ans.Done, name)
	}
	a.audit(r, "bulk "+body.Action, strings.Join(ans.Done, ","))
	return writeJSON(w, http.StatusOK, ans)
}

func relabel(d *v1alpha1.Device, change map[string]*string) bool {
	changed := false
	for k, v := range change {
		old, there := d.Labels[k]
		switch {
		case v == nil && there:
			delete(d.Labels, k)
			changed = true
		case v != nil && (!there || old != *v):
			if d.Labels == nil {
				d.Labels = map[string]string{}
			}
			d.Labels[k] = *v
			changed = true
		}
	}
	return changed
}

// moment is one line of a device's timeline.
type moment struct {
	Time    time.Time       `json:"time"`
	Type    string          `json:"type"`
	ID      string          `json:"id"`
	Subject string          `json:"subject"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// timeline is what happened to a device, newest first, as far as the broker remembers.
func (a *API) timeline(w http.ResponseWriter, r *request) error {
	want := r.namespace + "/" + r.name
	items := []moment{}
	for from, looked := "", 0; looked < timeline*10; {
		got, next, err := a.Recents(r.Context(), from, timeline, 0)
		if err != nil {
			return err
		}
		for _, g := range got {
			e := g.Event
			if e.Subject() != want && !strings.HasSuffix(e.Subject(), "/namespaces/"+r.namespace+"/devices/"+r.name) {
				continue
			}
			if e.Type() == event.RefUpdate {
				continue // mostly the status that our own functions write
			}
			m := moment{Time: e.Time(), Type: e.Type(), ID: e.ID(), Subject: e.Subject()}
			if json.Valid(e.Data()) {
				m.Data = e.Data()
			}
			items = append(items, m)
		}
		looked += len(got)
		if next == "" || next == from || len(got) < timeline {
			break
		}
		from = next
	}
	slices.Reverse(items)
	if len(items) > maxPage {
		items = items[:maxPage]
	}
	return writeJSON(w, http.StatusOK, listAnswer[moment]{Items: items})
}
