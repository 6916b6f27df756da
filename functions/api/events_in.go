package api

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// maxEventsIn is how many events one post may bring.
const maxEventsIn = 100

type eventsAnswer struct {
	Events []string `json:"events"` // ids, in the order of the request
}

// takeEvents takes CloudEvents from outside: one (binary or structured) or a batch. All are looked at before any is taken.
func (a *API) takeEvents(w http.ResponseWriter, r *request) error {
	hops, err := hopsOf(r.Header)
	if err != nil {
		return err
	}
	es, err := event.ReadRequests(r.Request, event.MaxEvent)
	if err != nil {
		return err
	}
	if len(es) == 0 || len(es) > maxEventsIn {
		return errs.New(errs.Invalid, "%d events; 1 to %d are taken at once", len(es), maxEventsIn)
	}
	for i := range es {
		if es[i], err = a.fromOutside(r, es[i], hops); err != nil {
			return err
		}
	}
	ans := eventsAnswer{}
	for _, e := range es {
		if err := a.Events.Post(r.Context(), e); err != nil {
			return err // all of them may be posted again: their ids stay
		}
		ans.Events = append(ans.Events, e.ID())
		a.audit(r, "event", e.Type()+" "+e.ID())
	}
	return writeJSON(w, http.StatusAccepted, ans)
}

// fromOutside judges an event, and has it say no more than its sender may: source and namespace are set from who they are and
// where they may.
func (a *API) fromOutside(r *request, in ce.Event, hops int) (ce.Event, error) {
	ns := r.namespace
	said := event.Namespace(in)
	if ns == "" {
		if ns = r.URL.Query().Get("namespace"); ns == "" {
			ns = said
		}
	}
	if ns == "" {
		return in, errs.New(errs.Invalid, "which namespace? give the attribute namespace, or ?namespace=")
	}
	if said != "" && said != ns {
		return in, errs.New(errs.Denied, "the event is about namespace %s, the door is %s's", said, ns)
	}
	if r.namespace == "" { // guard has asked otherwise
		if err := a.mayIn(r, ns, "create", "events.wasmbed", ""); err != nil {
			return in, err
		}
	}
	data, subject := any(nil), in.Subject()
	if reserved(in.Type()) {
		if ct := in.DataContentType(); ct != "" && ct != event.JSON {
			return in, errs.New(errs.Invalid, "data of %s are JSON", in.Type())
		}
		var err error
		if data, subject, err = requestOf(in.Type(), rawData(in), ns, r.user.Name); err != nil {
			return in, err
		}
		if err := a.mayAsk(r, ns, data); err != nil {
			return in, err
		}
	}
	out := ce.New(ce.CloudEventsVersionV1)
	out.SetType(in.Type())
	out.SetID(in.ID())
	out.SetSource("/wasmbed/events/" + ns + "/" + url.PathEscape(r.user.Name))
	out.SetTime(a.Now())
	if subject != "" {
		out.SetSubject(subject)
	}
	if in.DataSchema() != "" {
		out.SetDataSchema(in.DataSchema())
	}
	for name, v := range in.Extensions() {
		if !own(name) {
			out.SetExtension(name, v)
		}
	}
	out.SetExtension(event.ExtNamespace, ns)
	out.SetExtension("origin", in.Source())
	if hops > 0 {
		out.SetExtension(event.ExtHops, strconv.Itoa(hops))
	}
	var err error
	if data != nil {
		err = out.SetData(event.JSON, data)
	} else if len(in.Data()) > 0 {
		err = out.SetData(in.DataContentType(), in.Data())
	}
	if err == nil {
		err = out.Validate()
	}
	if err != nil {
		return in, errs.New(errs.Invalid, "event: %w", err)
	}
	return out, nil
}

type raw []byte

// MarshalJSON gives the data as they came.
func (r raw) MarshalJSON() ([]byte, error) {
	if len(r) == 0 {
		return []byte("{}"), nil
	}
	return r, nil
}

func rawData(e ce.Event) raw { return e.Data() }

// own reports whether an attribute is one that functions and Triggers choose by: nobody outside sets it.
func own(name string) bool {
	switch name {
	case event.ExtNamespace, event.ExtPartitionKey, event.ExtKind, event.ExtName, event.ExtEra, event.ExtTimerKind, event.ExtHops, "apiversion", "origin":
		return true
	}
	return strings.HasPrefix(name, "knative")
}

// mayAsk asks of a request what the REST route for the same thing asks.
func (a *API) mayAsk(r *request, ns string, data any) error {
	switch d := data.(type) {
	case event.DeployRequest:
		return a.mayIn(r, ns, "update", "applications", d.Application)
	case event.RollbackRequest:
		return a.mayIn(r, ns, "create", "applications/rollback", d.Application)
	case event.CommandRequest:
		sub, ok := map[string]string{ledger.CommandInvoke: "invoke", ledger.CommandMessage: "message", ledger.CommandReboot: "reboot"}[d.Kind]
		if !ok {
			return errs.New(errs.Invalid, "kind is Invoke, Message or Reboot")
		}
		return a.mayIn(r, ns, "create", "devices/"+sub, "")
	case event.ApplicationAction:
		return a.mayIn(r, ns, "update", "applications", d.Application)
	case event.DeviceAction:
		verb, resource := "update", "devices/approval"
		if d.Action == event.ActionHold || d.Action == event.ActionRelease {
			verb, resource = "patch", "devices"
		}
		name := "" // as the REST route for many asks
		if len(d.Devices) == 1 {
			name = d.Devices[0]
		}
		return a.mayIn(r, ns, verb, resource, name)
	}
	return errs.New(errs.Denied, "events of this type are not taken from outside")
}

func (a *API) mayIn(r *request, ns, verb, resource, name string) error {
	kind, sub, _ := strings.Cut(resource, "/")
	may, err := a.Auth.Allowed(r.Context(), r.user, Access{Verb: verb, Resource: kind, Subresource: sub, Namespace: ns, Name: name})
	if err != nil {
		return err
	}
	if !may {
		return errs.New(errs.Denied, "%s may not %s %s in namespace %s", r.user.Name, verb, resource, ns).WithMend("an RBAC Role for group wasmbed.io grants it")
	}
	return nil
}
