package api

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/hook"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// maxShown is how much of a delivery's body is shown, bytes.
const maxShown = 4 << 10

func (a *API) webhookRoutes() []route {
	const ns = "/api/v1/namespaces/:namespace"
	out := []route{
		{"POST", ns + "/webhooks/:name/test", "create", "webhooks/deliveries", a.testWebhook},
		{"POST", ns + "/webhooks/:name/enable", "update", "webhooks", a.enableWebhook},
		{"POST", ns + "/webhooksources/:name/test", "update", "webhooksources", a.tryHook},
		{"GET", ns + "/webhooks/:name/deliveries", "list", "webhooks/deliveries", a.listDeliveries},
		{"GET", ns + "/webhooks/:name/deliveries/:id", "get", "webhooks/deliveries", a.getDelivery},
		{"POST", ns + "/webhooks/:name/deliveries/:id/redeliver", "create", "webhooks/deliveries", a.redeliverWebhook},
	}
	out = append(out, outHooks(a).routes("webhooks")...)
	return append(out, inHooks(a).routes("webhooksources")...)
}

// webhookBody is a Webhook with the key to sign with, which is stored and never shown.
type webhookBody struct {
	v1alpha1.Webhook `json:",inline"`
	Secret           string `json:"secret,omitempty"`
}

// hookSourceBody is a WebhookSource with the key to verify with.
type hookSourceBody struct {
	v1alpha1.WebhookSource `json:",inline"`
	Secret                 string `json:"secret,omitempty"`
}

type secretBody struct {
	Secret       string `json:"secret,omitempty"`       // the new one; the one before stays in force as previous
	DropPrevious bool   `json:"dropPrevious,omitempty"` // the one before is in force no more
}

// hooksOf is what the routes of Webhooks and those of WebhookSources share.
type hooksOf[T, B any] struct {
	a        *API
	resource client.Resource[T]
	prefix   string // of the names of Secrets that this API makes
	split    func(*B) (obj *T, secret string)
	parts    func(*T) (*metav1.ObjectMeta, *v1alpha1.SecretReference)
	setSpec  func(have, from *T)
}

func outHooks(a *API) hooksOf[v1alpha1.Webhook, webhookBody] {
	return hooksOf[v1alpha1.Webhook, webhookBody]{
		a: a, resource: a.webhooks(), prefix: "webhook-",
		split: func(b *webhookBody) (*v1alpha1.Webhook, string) { return &b.Webhook, b.Secret },
		parts: func(w *v1alpha1.Webhook) (*metav1.ObjectMeta, *v1alpha1.SecretReference) {
			return &w.ObjectMeta, &w.Spec.SecretRef
		},
		setSpec: func(have, from *v1alpha1.Webhook) { have.Spec = from.Spec },
	}
}

func inHooks(a *API) hooksOf[v1alpha1.WebhookSource, hookSourceBody] {
	return hooksOf[v1alpha1.WebhookSource, hookSourceBody]{
		a: a, resource: a.hookSources(), prefix: "hook-",
		split: func(b *hookSourceBody) (*v1alpha1.WebhookSource, string) { return &b.WebhookSource, b.Secret },
		parts: func(w *v1alpha1.WebhookSource) (*metav1.ObjectMeta, *v1alpha1.SecretReference) {
			return &w.ObjectMeta, &w.Spec.SecretRef
		},
		setSpec: func(have, from *v1alpha1.WebhookSource) { have.Spec = from.Spec },
	}
}

// webhooks and hookSources are nil while the routes are only listed.
func (a *API) webhooks() client.Resource[v1alpha1.Webhook] {
	if a.Client == nil {
		return nil
	}
	return a.Client.Webhooks
}

func (a *API) hookSources() client.Resource[v1alpha1.WebhookSource] {
	if a.Client == nil {
		return nil
	}
	return a.Client.HookSources
}

func (h hooksOf[T, B]) routes(kind string) []route {
	at := "/api/v1/namespaces/:namespace/" + kind
	return []route{
		{"GET", at, "list", kind, func(w http.ResponseWriter, r *request) error { return list(w, r, h.resource) }},
		{"POST", at, "create", kind, h.create},
		{"GET", at + "/:name", "get", kind, h.get},
		{"PUT", at + "/:name", "update", kind, h.put},
		{"PATCH", at + "/:name", "patch", kind, h.patch},
		{"DELETE", at + "/:name", "delete", kind, h.remove},
		{"POST", at + "/:name/secret", "update", kind, h.rotate},
	}
}

func (h hooksOf[T, B]) get(w http.ResponseWriter, r *request) error {
	o, err := h.resource.Get(r.Context(), r.namespace, r.name)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, o)
}

func (h hooksOf[T, B]) patch(w http.ResponseWriter, r *request) error {
	return patchObject(h.a, w, r, h.resource)
}

// read reads the body. name "" takes the body's.
func (h hooksOf[T, B]) read(r *request, name string) (*T, string, error) {
	var b B
	if err := decode(r, &b); err != nil {
		return nil, "", err
	}
	o, secret := h.split(&b)
	m, ref := h.parts(o)
	if name == "" {
		name = m.Name
	}
	if name == "" || m.Name != "" && m.Name != name || m.Namespace != "" && m.Namespace != r.namespace {
		return nil, "", errs.New(errs.Invalid, "the body is %q/%q; a name in namespace %s is needed", m.Namespace, m.Name, r.namespace)
	}
	*m = metav1.ObjectMeta{Namespace: r.namespace, Name: name, Labels: m.Labels, Annotations: m.Annotations, ResourceVersion: m.ResourceVersion}
	if secret != "" {
		if _, err := hook.ParseKey([]byte(secret)); err != nil {
			return nil, "", errs.New(errs.Invalid, "secret: %w", err).WithMend("whsec_ and the base64 of 32 random bytes")
		}
		if ref.Name != "" && ref.Name != h.prefix+name {
			return nil, "", errs.New(errs.Invalid, "secret is stored in Secret %s: leave secretRef out", h.prefix+name)
		}
	}
	if ref.Name == "" {
		ref.Name = h.prefix + name
	}
	return o, secret, nil
}

func (h hooksOf[T, B]) create(w http.ResponseWriter, r *request) error {
	o, secret, err := h.read(r, "")
	if err != nil {
		return err
	}
	m, _ := h.parts(o)
	m.ResourceVersion = ""
	r.name = m.Name
	if _, err := h.resource.Get(r.Context(), r.namespace, r.name); err == nil {
		return errs.New(errs.AlreadyExists, "%s exists", r.name)
	} else if !errs.Is(err, errs.NotFound) {
		return err
	}
	if secret != "" {
		if err := h.putSecret(r.Context(), r.namespace, r.name, secret, false, false); err != nil {
			return err
		}
	}
	made, err := h.resource.Create(r.Context(), o)
	if err != nil {
		return err // the Secret stays: whoever tries again finds it
	}
	h.a.audit(r, "created", "")
	return writeJSON(w, http.StatusCreated, made)
}

func (h hooksOf[T, B]) put(w http.ResponseWriter, r *request) error {
	o, secret, err := h.read(r, r.name)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		have, err := h.resource.Get(r.Context(), r.namespace, r.name)
		if err != nil {
			return err
		}
		m, _ := h.parts(have)
		if err := ifMatch(r, m.ResourceVersion); err != nil {
			return err
		}
		h.setSpec(have, o)
		made, err := h.resource.Update(r.Context(), have)
		if errs.Is(err, errs.Conflict) && try < maxTries && r.Header.Get("If-Match") == "" {
			continue
		}
		if err != nil {
			return err
		}
		if secret != "" {
			if err := h.putSecret(r.Context(), r.namespace, r.name, secret, true, false); err != nil {
				return err
			}
		}
		h.a.audit(r, "updated", "")
		return writeJSON(w, http.StatusOK, made)
	}
}

func (h hooksOf[T, B]) remove(w http.ResponseWriter, r *request) error {
	if err := remove(r, h.resource); err != nil {
		return err
	}
	if s, err := h.a.Client.Secrets.Get(r.Context(), r.namespace, h.prefix+r.name); err == nil && owned(s) {
		if err := h.a.Client.Secrets.Delete(r.Context(), r.namespace, s.Name); err != nil {
			h.a.Log.Warn("the Secret of a webhook stays", "secret", s.Name, "err", err)
		}
	}
	h.a.audit(r, "deleted", "")
	return writeJSON(w, http.StatusAccepted, map[string]string{"status": "deleting"})
}

// rotate sets a new key beside the one that is in force, or ends that.
func (h hooksOf[T, B]) rotate(w http.ResponseWriter, r *request) error {
	var b secretBody
	if err := decode(r, &b); err != nil {
		return err
	}
	if b.Secret == "" && !b.DropPrevious {
		return errs.New(errs.Invalid, "give secret, dropPrevious, or both")
	}
	if b.Secret != "" {
		if _, err := hook.ParseKey([]byte(b.Secret)); err != nil {
			return errs.New(errs.Invalid, "secret: %w", err).WithMend("whsec_ and the base64 of 32 random bytes")
		}
	}
	o, err := h.resource.Get(r.Context(), r.namespace, r.name)
	if err != nil {
		return err
	}
	if _, ref := h.parts(o); ref.Name != h.prefix+r.name {
		return errs.New(errs.Conflict, "its key is in Secret %s, which is not of this API's making", ref.Name).WithMend("rotate it there: keys secret and previous")
	}
	if err := h.putSecret(r.Context(), r.namespace, r.name, b.Secret, true, b.DropPrevious); err != nil {
		return err
	}
	h.a.audit(r, "secret", map[bool]string{true: "rotated", false: "previous dropped"}[b.Secret != ""])
	return writeJSON(w, http.StatusOK, map[string]string{"status": "rotated"})
}

const madeHere = "wasmbed-api"

// owned reports whether a Secret was made by this API for webhooks: no other is touched.
func owned(s *corev1.Secret) bool {
	return s.Type == v1alpha1.SecretTypeWebhook && s.Labels[v1alpha1.LabelManagedBy] == madeHere
}

// putSecret stores a key. keep: the one before stays in force.
func (h hooksOf[T, B]) putSecret(ctx context.Context, ns, name, secret string, keep, drop bool) error {
	for try := 1; ; try++ {
		s, err := h.a.Client.Secrets.Get(ctx, ns, h.prefix+name)
		switch {
		case errs.Is(err, errs.NotFound) && secret != "":
			_, err = h.a.Client.Secrets.Create(ctx, &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: h.prefix + name, Labels: map[string]string{v1alpha1.LabelManagedBy: madeHere}},
				Type:       v1alpha1.SecretTypeWebhook, Data: map[string][]byte{hook.KeySecret: []byte(secret)},
			})
		case err == nil && !owned(s):
			return errs.New(errs.Conflict, "there is a Secret %s that is not of this API's making", s.Name)
		case err == nil:
			if s.Data == nil {
				s.Data = map[string][]byte{}
			}
			if drop || !keep {
				delete(s.Data, hook.KeyPrevious)
			}
			if secret != "" && string(s.Data[hook.KeySecret]) != secret {
				if keep && !drop && len(s.Data[hook.KeySecret]) > 0 {
					s.Data[hook.KeyPrevious] = s.Data[hook.KeySecret]
				}
				s.Data[hook.KeySecret] = []byte(secret)
			}
			_, err = h.a.Client.Secrets.Update(ctx, s)
		}
		if (errs.Is(err, errs.Conflict) || errs.Is(err, errs.AlreadyExists)) && try < maxTries {
			continue
		}
		if errs.Is(err, errs.Denied) {
			return errs.New(errs.Conflict, "the API may not store Secrets in namespace %s", ns).WithMend("kubectl create rolebinding wasmbed-webhook-secrets -n %s --clusterrole=wasmbed-webhook-secrets --serviceaccount=wasmbed-system:wasmbed-webhook --serviceaccount=wasmbed-system:wasmbed-api", ns)
		}
		return err
	}
}

type testAnswer struct {
	Event    string `json:"event"`
	Delivery string `json:"delivery"` // to be found among the webhook's deliveries
}

// testWebhook sends one event to a webhook.
func (a *API) testWebhook(w http.ResponseWriter, r *request) error {
	o, err := a.Client.Webhooks.Get(r.Context(), r.namespace, r.name)
	if err != nil {
		return err
	}
	if o.Spec.Paused {
		return errs.New(errs.Conflict, "webhook %s is paused", r.name).WithMend("set spec.paused to false")
	}
	if c := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionDisabled); c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == o.Generation {
		return errs.New(errs.Conflict, "webhook %s is disabled: %s", r.name, c.Message).WithMend("POST …/enable, then test again")
	}
	e, err := a.sayOfWebhook(r, event.WebhookTested, event.WebhookTest{Namespace: r.namespace, Webhook: r.name, By: r.user.Name})
	if err != nil {
		return err
	}
	a.audit(r, "test", "")
	return writeJSON(w, http.StatusAccepted, testAnswer{e.ID(), hook.DeliveryID(r.namespace, r.name, e.Source(), e.ID())})
}

func (a *API) sayOfWebhook(r *request, typ string, data any) (ce.Event, error) {
	e, err := event.New(typ, "/wasmbed/functions/api", r.namespace+"/"+r.name, "", data, event.In(r.namespace), event.At(a.Now()))
	if err != nil {
		return e, err
	}
	return e, a.Events.Post(r.Context(), e)
}

// enableWebhook has a webhook that was disabled go on.
func (a *API) enableWebhook(w http.ResponseWriter, r *request) error {
	for try := 1; ; try++ {
		o, err := a.Client.Webhooks.Get(r.Context(), r.namespace, r.name)
		if err != nil {
			return err
		}
		o.Spec.Enables++
		o, err = a.Client.Webhooks.Update(r.Context(), o)
		if errs.Is(err, errs.Conflict) && try < maxTries {
			continue
		}
		if err != nil {
			return err
		}
		a.audit(r, "enabled", "")
		return writeJSON(w, http.StatusOK, o)
	}
}

// deliveryAnswer is a delivery as people may see it: bodies without what looks like a secret.
type deliveryAnswer struct {
	ID       string           `json:"id"`
	Event    deliveryEvent    `json:"event"`
	Status   string           `json:"status"` // Waiting, Delivered, Failed
	Attempts int              `json:"attempts"`
	Created  time.Time        `json:"created"`
	Next     *time.Time       `json:"next,omitempty"`
	Tries    []ledger.HookTry `json:"tries"` // the last five attempts, oldest first
	Body     string           `json:"body,omitempty"`
	Cut      bool             `json:"cut,omitempty"` // there is more of the body
}

type deliveryEvent struct {
	ID      string `json:"id"`
	Source  string `json:"source"`
	Type    string `json:"type"`
	Subject string `json:"subject,omitempty"`
}

func showDelivery(d ledger.HookDelivery, body bool) deliveryAnswer {
	out := deliveryAnswer{ID: d.ID, Event: deliveryEvent{d.EventID, d.Source, d.Type, d.Subject}, Status: d.Status, Attempts: d.Attempts, Created: d.Created, Next: d.Next, Tries: d.Tries}
	if out.Tries == nil {
		out.Tries = []ledger.HookTry{}
	}
	if body && len(d.Event) > 0 {
		shown := hook.Redact(d.Event, maxShown+1)
		out.Cut = len(shown) > maxShown
		out.Body = strings.ToValidUTF8(string(shown[:min(len(shown), maxShown)]), "")
	}
	return out
}

func (a *API) listDeliveries(w http.ResponseWriter, r *request) error {
	after, n, err := page(r)
	if err != nil {
		return err
	}
	if _, err := a.Client.Webhooks.Get(r.Context(), r.namespace, r.name); err != nil {
		return err
	}
	ds, next, err := a.Ledger.Deliveries(r.Context(), ledger.Hook{Namespace: r.namespace, Name: r.name}, after, n)
	if err != nil {
		return err
	}
	items := make([]deliveryAnswer, len(ds))
	for i, d := range ds {
		items[i] = showDelivery(d, false)
	}
	return writeJSON(w, http.StatusOK, listAnswer[deliveryAnswer]{items, next})
}

// delivery finds the delivery that the path names.
func (a *API) delivery(r *request) (ledger.HookDelivery, error) {
	parts := strings.Split(r.URL.Path, "/")
	i := slices.Index(parts, "deliveries")
	for j := i + 1; j < len(parts); j++ { // the last one: a webhook may have that name
		if parts[j] == "deliveries" && j+1 < len(parts) {
			i = j
		}
	}
	if i < 0 || i+1 >= len(parts) || len(parts[i+1]) > 64 {
		return ledger.HookDelivery{}, errs.New(errs.NotFound, "no such delivery")
	}
	return a.Ledger.Delivery(r.Context(), ledger.Hook{Namespace: r.namespace, Name: r.name}, parts[i+1])
}

func (a *API) getDelivery(w http.ResponseWriter, r *request) error {
	d, err := a.delivery(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, showDelivery(d, true))
}

func (a *API) redeliverWebhook(w http.ResponseWriter, r *request) error {
	d, err := a.delivery(r)
	if err != nil {
		return err
	}
	if len(d.Event) == 0 || !json.Valid(d.Event) {
		return errs.New(errs.Conflict, "the event of this delivery was not kept: it was too large")
	}
	e, err := a.sayOfWebhook(r, event.WebhookRedeliveryRequested, event.WebhookRedelivery{Namespace: r.namespace, Webhook: r.name, Delivery: d.ID, By: r.user.Name})
	if err != nil {
		return err
	}
	a.audit(r, "redeliver", d.ID)
	return writeJSON(w, http.StatusAccepted, testAnswer{e.ID(), d.ID})
}
