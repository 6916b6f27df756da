package api

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/hook"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// Limits of what is said of requests that came in.
const (
	hookNotePace     = 2 * time.Second // between two writes of a source's status
	hookNotePatience = time.Second
	maxHookMessage   = 512 // bytes
)

// noteHook leaves what became of a request where function webhook finds it, for the source's status. A ledger that is away
// costs the note, not the request.
func (a *API) noteHook(r *request, ans hookAnswer, refused error) {
	at := metav1.NewTime(a.Now().UTC().Truncate(time.Second))
	var n ledger.HookSourceNote
	var note any = v1alpha1.HookReceipt{Time: at, Status: ans.Status, Type: ans.Type, Event: ans.Event}
	into := &n.Took
	if refused != nil {
		message := strings.ToValidUTF8(refused.Error(), "?")
		if len(message) > maxHookMessage {
			message = strings.ToValidUTF8(message[:maxHookMessage], "")
		}
		from, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			from = r.RemoteAddr
		}
		note, into = v1alpha1.HookRefusal{Time: at, Reason: string(errs.CodeOf(refused)), Message: message, From: from}, &n.Refused
	}
	b, err := json.Marshal(note)
	if err == nil {
		*into = string(b)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), hookNotePatience)
		defer cancel()
		err = a.Ledger.NoteHookSource(ctx, ledger.Hook{Namespace: r.namespace, Name: r.name}, n, hookNotePace)
	}
	if err != nil {
		a.Log.Debug("what a webhook brought is not noted", "hook", r.namespace+"/"+r.name, "err", err)
	}
}

// permitHook takes a receiver's yes to the CloudEvents handshake, which it gives by the URL that it was shown
// (WebHook-Request-Callback). The URL is the proof.
func (a *API) permitHook(w http.ResponseWriter, r *request) error {
	if err := a.door.enter(r.RemoteAddr, a.Now()); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxHookBody)); err != nil {
		return err
	}
	wrong := errs.New(errs.NotFound, "there is nothing here").WithMend("the URL is that of the header WebHook-Request-Callback, whole")
	_, token, _ := strings.Cut(r.URL.Path, "/permit/")
	if !hookName.MatchString(r.namespace) || !hookName.MatchString(r.name) || token == "" {
		return wrong
	}
	o, err := a.Client.Webhooks.Get(r.Context(), r.namespace, r.name)
	if errs.Is(err, errs.NotFound) {
		return wrong
	}
	if err != nil {
		return err
	}
	s, err := a.Client.Secrets.Get(r.Context(), r.namespace, o.Spec.SecretRef.Name)
	if errs.Is(err, errs.NotFound) || errs.Is(err, errs.Denied) {
		return wrong
	}
	if err != nil {
		return err
	}
	keys, err := hook.ReadKeys(s)
	if err != nil || !keys.Permits(token, o.Namespace, o.Name, string(o.UID), o.Spec.URL) {
		return wrong
	}
	rate, err := strconv.Atoi(strings.TrimSpace(r.Header.Get("WebHook-Allowed-Rate")))
	if err != nil || rate < 0 {
		rate = 0 // none was given, or *: any
	}
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		from = r.RemoteAddr
	}
	if _, err := a.sayOfWebhook(r, event.WebhookPermitted, event.WebhookPermission{Namespace: r.namespace, Webhook: r.name, URL: event.DeriveID(o.Spec.URL), Rate: rate, By: from}); err != nil {
		return err
	}
	r.user = User{Name: "webhook:" + r.namespace + "/" + r.name}
	a.audit(r, "permitted", "")
	return writeJSON(w, http.StatusOK, map[string]string{"status": "permitted"})
}
