package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"

	"wasmbed.io/wasmbed/api/hook"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// Limits of the door for webhooks.
const (
	maxHookBody  = 1 << 20
	hookCacheFor = 5 * time.Second // of a WebhookSource and its Secret, also of ones that are not there
	maxHookCache = 4096
	hookReadTime = 10 * time.Second // of a request's body
	hookAsks     = 50               // requests a second of one address, whatever they prove
	hookAskBurst = 100
)

// ownLock stands in a route for a verb: the handler asks for its own proof, and no bearer token is needed.
const ownLock = "-"

// hookRoutes are the doors for what comes from outside.
func (a *API) hookRoutes() []route {
	return []route{
		{"POST", "/hooks/:namespace/:name", ownLock, "", a.takeHook},
		{"POST", "/hooks/:namespace/:name/permit/:token", ownLock, "", a.permitHook},
		{"GET", "/hooks/:namespace/:name/permit/:token", ownLock, "", a.permitHook}, // by hand, in a browser
		{"POST", "/api/v1/events", "", "", a.takeEvents},
		{"POST", "/api/v1/namespaces/:namespace/events", "create", "events.wasmbed", a.takeEvents},
	}
}

// hookDoor is what the door remembers.
type hookDoor struct {
	mu     sync.Mutex
	known  map[string]knownHook
	rates  map[string]*rate.Limiter // by namespace/name
	caller map[string]*rate.Limiter // by address
}

type knownHook struct {
	source *v1alpha1.WebhookSource // nil: there is none
	secret *corev1.Secret
	keys   hook.Keys
	until  time.Time
}

func limiter(m *map[string]*rate.Limiter, key string, perSecond float64, burst int) *rate.Limiter {
	if *m == nil || len(*m) >= maxHookCache {
		*m = map[string]*rate.Limiter{}
	}
	l := (*m)[key]
	if l == nil || float64(l.Limit()) != perSecond {
		l = rate.NewLimiter(rate.Limit(perSecond), burst)
		(*m)[key] = l
	}
	return l
}

// enter lets an address in that does not ask too often.
func (d *hookDoor) enter(remote string, now time.Time) error {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !limiter(&d.caller, host, hookAsks, hookAskBurst).AllowN(now, 1) {
		return errs.New(errs.Exhausted, "%s posts more than %d times a second", host, hookAsks)
	}
	return nil
}

// pass takes one request of a hook that proved itself.
func (d *hookDoor) pass(id string, perMinute int32, now time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !limiter(&d.rates, id, float64(perMinute)/60, max(1, int(perMinute)/4)).AllowN(now, 1) {
		return errs.New(errs.Exhausted, "more than %d requests a minute", perMinute).WithMend("raise spec.ratePerMinute")
	}
	return nil
}

// hookOf reads a WebhookSource and its key.
func (a *API) hookOf(ctx context.Context, ns, name string) (knownHook, error) {
	id := ns + "/" + name
	now := a.Now()
	a.door.mu.Lock()
	k, ok := a.door.known[id]
	a.door.mu.Unlock()
	if ok && now.Before(k.until) {
		return k, nil
	}
	k = knownHook{until: now.Add(hookCacheFor)}
	src, err := a.Client.HookSources.Get(ctx, ns, name)
	if err == nil {
		src.Default()
		k.secret, err = a.Client.Secrets.Get(ctx, ns, src.Spec.SecretRef.Name)
		if err == nil {
			if k.keys, err = hook.ReadKeys(k.secret); err == nil {
				k.source = src
			}
		}
	}
	switch errs.CodeOf(err) {
	case "":
	case errs.NotFound, errs.Invalid, errs.Denied: // a name that cannot be, a key that is missing: nobody can be let in
		a.Log.Debug("a webhook cannot be verified", "hook", id, "err", err)
	default:
		return k, err
	}
	a.door.mu.Lock()
	defer a.door.mu.Unlock()
	if a.door.known == nil || len(a.door.known) >= maxHookCache {
		a.door.known = map[string]knownHook{}
	}
	a.door.known[id] = k
	return k, nil
}

var hookName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// hookAnswer says what became of a request.
type hookAnswer struct {
	Status string `json:"status"`          // accepted, duplicate (it was taken before), ignored (no rule fits)
	Event  string `json:"event,omitempty"` // its id
	Type   string `json:"type,omitempty"`
}

// takeHook makes an event of what an outside system posts.
func (a *API) takeHook(w http.ResponseWriter, r *request) error {
	if err := a.door.enter(r.RemoteAddr, a.Now()); err != nil {
		return err
	}
	if !hookName.MatchString(r.namespace) || !hookName.MatchString(r.name) {
		return errs.New(errs.Unauthenticated, "the proof is missing or wrong")
	}
	// Who trickles a body holds nothing for long. The next request of the connection has its own time.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(hookReadTime)) // a writer of a test may know of none
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxHookBody))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errs.New(errs.Deadline, "the body did not come within %v", hookReadTime)
	}
	if err != nil {
		return err
	}
	k, err := a.hookOf(r.Context(), r.namespace, r.name)
	if err != nil {
		return err
	}
	if k.source == nil { // the same as for a wrong proof: nobody finds out here which hooks there are
		return errs.New(errs.Unauthenticated, "the proof is missing or wrong")
	}
	ans, err := a.hookEvent(r, k, body)
	a.noteHook(r, ans, err)
	if errs.Is(err, errs.Unauthenticated) {
		a.Log.Debug("a webhook is refused", "hook", r.namespace+"/"+r.name, "from", r.RemoteAddr, "err", err)
		return errs.New(errs.Unauthenticated, "the proof is missing or wrong") // what is wrong is in the source's status
	}
	if err != nil {
		return err
	}
	if ans.Status == hookAccepted {
		r.user = User{Name: "hook:" + r.namespace + "/" + r.name}
		a.audit(r, "hook", ans.Type)
	}
	return writeJSON(w, http.StatusAccepted, ans)
}

// Statuses of a hookAnswer.
const (
	hookAccepted  = "accepted"
	hookDuplicate = "duplicate"
	hookIgnored   = "ignored"
)

// hookEvent verifies a request, and posts the event that is made of it.
func (a *API) hookEvent(r *request, k knownHook, body []byte) (hookAnswer, error) {
	none := hookAnswer{}
	mark, err := a.proof(k, r.Header, body)
	if err != nil {
		return none, err
	}
	if k.source.Spec.Paused {
		return none, errs.New(errs.Conflict, "this webhook is paused")
	}
	if err := a.door.pass(r.namespace+"/"+r.name, k.source.Spec.RatePerMinute, a.Now()); err != nil {
		return none, err
	}
	hops, err := hopsOf(r.Header)
	if err != nil {
		return none, err
	}
	in := hook.Request{Header: r.Header, Body: jsonOf(r.Header, body)}
	if err := a.fresh(k.source, in); err != nil {
		return none, err
	}
	e, err := a.eventOf(k.source, in, body)
	if err != nil {
		return none, err
	}
	if e == nil {
		return hookAnswer{Status: hookIgnored}, nil
	}
	if mark == "" {
		mark = event.NewID()
	}
	e.SetID(event.DeriveID(e.Source(), mark))
	e.SetTime(a.Now())
	if hops > 0 {
		e.SetExtension(event.ExtHops, strconv.Itoa(hops))
	}
	_, done, err := a.Ledger.Once(r.Context(), e.Source(), mark)
	if err != nil {
		return none, err
	}
	if done != "" {
		return hookAnswer{hookDuplicate, e.ID(), e.Type()}, nil
	}
	if err := a.Events.Post(r.Context(), *e); err != nil {
		return none, err // it comes again, and is no duplicate: what was not taken is not marked
	}
	if err := a.Ledger.SetOnce(r.Context(), e.Source(), mark, e.ID()); err != nil {
		a.Log.Warn("a webhook's request may be taken twice", "hook", e.Source(), "err", err) // the event has the same id then
	}
	return hookAnswer{hookAccepted, e.ID(), e.Type()}, nil
}

// proof verifies a request. mark is the same for the same request, and nobody can change it: "" when there is none.
func (a *API) proof(k knownHook, h http.Header, body []byte) (mark string, err error) {
	switch k.source.Spec.Verify.Scheme {
	case v1alpha1.SchemeGitHub:
		return k.keys.VerifyGitHub(h, body)
	case v1alpha1.SchemeToken:
		if key := h.Get("Idempotency-Key"); len(key) <= maxIdempotent { // whoever has the token may say that it is the same
			mark = key
		}
		return mark, hook.VerifyToken(k.secret, h, k.source.Spec.Verify.Header)
	}
	return k.keys.Verify(h, body, a.Now(), k.source.Spec.Verify.Tolerance.Duration)
}

// fresh refuses a request whose own time is not of now, when the source says where that is.
func (a *API) fresh(s *v1alpha1.WebhookSource, in hook.Request) error {
	path := s.Spec.Verify.TimePath
	if path == "" || s.Spec.Verify.Scheme == v1alpha1.SchemeStandard {
		return nil
	}
	v, ok, err := in.Lookup(path)
	if err != nil || !ok {
		return errs.New(errs.Invalid, "the body has no time at %s", path)
	}
	var at time.Time
	switch x := v.(type) {
	case string:
		at, err = time.Parse(time.RFC3339, x)
	case json.Number:
		var n int64
		n, err = x.Int64()
		at = time.Unix(n, 0)
	}
	age := a.Now().Sub(at)
	if err != nil || at.IsZero() || age > s.Spec.Verify.Tolerance.Duration || -age > s.Spec.Verify.Tolerance.Duration {
		return errs.New(errs.Invalid, "the time at %s is not of the last %v", path, s.Spec.Verify.Tolerance.Duration)
	}
	return nil
}

// jsonOf reads the body when it is JSON, or a form with JSON in payload (GitHub's other way); else nil.
func jsonOf(h http.Header, body []byte) any {
	if media, _, err := mime.ParseMediaType(h.Get("Content-Type")); err == nil && media == "application/x-www-form-urlencoded" {
		if q, err := url.ParseQuery(string(body)); err == nil && q.Has("payload") {
			body = []byte(q.Get("payload"))
		} // else it is what curl -d calls a form
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil || d.More() {
		return nil
	}
	return v
}

// eventOf makes the event of the first rule that fits; nil when none does.
func (a *API) eventOf(s *v1alpha1.WebhookSource, in hook.Request, body []byte) (*ce.Event, error) {
	for i := range s.Spec.Rules {
		rule := &s.Spec.Rules[i]
		fits, err := in.Fits(rule)
		if err != nil {
			return nil, err
		}
		if !fits {
			continue
		}
		var data any
		subject := s.Namespace + "/" + s.Name
		switch {
		case rule.Data != nil:
			if data, err = in.Fill(rule.Data); err != nil {
				return nil, err
			}
		case in.Body != nil:
			data = in.Body
		}
		if reserved(rule.Type) {
			fields, _ := data.(map[string]any)
			if data, subject, err = requestOf(rule.Type, words(rule.Type, fields), s.Namespace, "hook "+s.Name); err != nil {
				return nil, err
			}
			// Who may make a webhook source may not by that admit devices.
			if d, ok := data.(event.DeviceAction); ok && d.Action != event.ActionHold && d.Action != event.ActionRelease {
				return nil, errs.New(errs.Denied, "a webhook may hold and release devices, not %s them", strings.ToLower(d.Action))
			}
		}
		e, err := event.New(rule.Type, "/wasmbed/hooks/"+s.Namespace+"/"+s.Name, subject, "-", data, event.In(s.Namespace))
		if err != nil {
			return nil, err
		}
		if data == nil && len(body) > 0 { // not JSON: as it came
			if err := e.SetData("application/octet-stream", body); err != nil {
				return nil, errs.New(errs.Invalid, "body: %w", err)
			}
		}
		return &e, nil
	}
	return nil, nil
}

// words brings what a mapping says in words to the types of a command's request.
func words(typ string, fields map[string]any) map[string]any {
	if typ != event.CommandRequested && typ != event.DeviceActionRequested {
		return fields
	}
	if s, ok := fields["devices"].(string); ok {
		fields["devices"] = strings.Split(s, ",")
	}
	if s, ok := fields["payload"].(string); ok {
		fields["payload"] = []byte(s)
	}
	if s, ok := fields["all"].(string); ok {
		fields["all"] = s == "true"
	}
	return fields
}

// reserved reports whether a type is Wasmbed's or Kubernetes' own.
func reserved(typ string) bool {
	return strings.HasPrefix(typ, "io.wasmbed.") || strings.HasPrefix(typ, "dev.knative.")
}

// requestOf makes the data of a request from outside. Who asks, and in which namespace, is not what the data say. Errors:
// Denied for a type that nobody outside may say, Invalid.
func requestOf(typ string, fields any, ns, by string) (data any, subject string, err error) {
	raw, err := json.Marshal(fields)
	if err != nil {
		return nil, "", errs.New(errs.Invalid, "data: %w", err)
	}
	strict := func(v any) error {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(v); err != nil {
			return errs.New(errs.Invalid, "data of %s: %w", typ, err)
		}
		return nil
	}
	other := func(said string) error {
		if said != "" && said != ns {
			return errs.New(errs.Denied, "the data are about namespace %s, the door is %s's", said, ns)
		}
		return nil
	}
	switch typ {
	case event.DeployRequested:
		var d event.DeployRequest
		if err := strict(&d); err != nil {
			return nil, "", err
		}
		if err := other(d.Namespace); err != nil {
			return nil, "", err
		}
		if d.Application == "" || d.Module != "" && d.OCI != "" || d.Module == "" && d.OCI == "" && len(d.Spec) == 0 {
			return nil, "", errs.New(errs.Invalid, "a deploy request needs application, and module, oci or spec")
		}
		d.Namespace, d.By = ns, by
		return d, ns + "/" + d.Application, nil
	case event.RollbackRequested:
		var d event.RollbackRequest
		if err := strict(&d); err != nil {
			return nil, "", err
		}
		if err := other(d.Namespace); err != nil {
			return nil, "", err
		}
		if d.Application == "" {
			return nil, "", errs.New(errs.Invalid, "a rollback request needs application")
		}
		d.Namespace, d.By = ns, by
		return d, ns + "/" + d.Application, nil
	case event.CommandRequested:
		var d event.CommandRequest
		if err := strict(&d); err != nil {
			return nil, "", err
		}
		if err := other(d.Namespace); err != nil {
			return nil, "", err
		}
		if len(d.Devices) == 0 && d.Selector == "" && !d.All {
			return nil, "", errs.New(errs.Invalid, "a command needs devices, a selector, or all")
		}
		d.Namespace, d.By, d.After, d.ID = ns, by, "", "" // the id is made of the event's: a repetition is the same command
		return d, ns, nil
	case event.ApplicationActionRequested:
		var d event.ApplicationAction
		if err := strict(&d); err != nil {
			return nil, "", err
		}
		if err := other(d.Namespace); err != nil {
			return nil, "", err
		}
		switch d.Action {
		case event.ActionStop, event.ActionStart, event.ActionPause, event.ActionResume:
		default:
			return nil, "", errs.New(errs.Invalid, "action %q: it is Stop, Start, Pause or Resume", d.Action)
		}
		if d.Application == "" {
			return nil, "", errs.New(errs.Invalid, "an action needs application")
		}
		d.Namespace, d.By = ns, by
		return d, ns + "/" + d.Application, nil
	case event.DeviceActionRequested:
		var d event.DeviceAction
		if err := strict(&d); err != nil {
			return nil, "", err
		}
		if err := other(d.Namespace); err != nil {
			return nil, "", err
		}
		switch d.Action {
		case event.ActionApprove, event.ActionReject, event.ActionRevoke, event.ActionHold, event.ActionRelease:
		default:
			return nil, "", errs.New(errs.Invalid, "action %q: it is Approve, Reject, Revoke, Hold or Release", d.Action)
		}
		if len(d.Devices) == 0 || len(d.Devices) > event.MaxActionDevices {
			return nil, "", errs.New(errs.Invalid, "%d devices; 1 to %d", len(d.Devices), event.MaxActionDevices)
		}
		d.Namespace, d.By = ns, by
		return d, ns, nil
	}
	return nil, "", errs.New(errs.Denied, "events of type %s are not taken from outside", typ).
		WithMend("deploy.requested, rollback.requested, command.requested, application.action.requested and device.action.requested are, and types of your own")
}

// hopsOf reads how many webhooks a request has come through. Errors: Invalid: too many.
func hopsOf(h http.Header) (int, error) {
	n, err := strconv.Atoi(h.Get(hook.HeaderHops))
	if err != nil {
		return 0, nil
	}
	if n < 0 || n >= hook.MaxHops {
		return 0, errs.New(errs.Invalid, "this came through %d webhooks: it goes in a circle", n)
	}
	return n, nil
}
