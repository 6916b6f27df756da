package webhook

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"wasmbed.io/wasmbed/api/hook"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// shake is what a receiver said to the handshake (CloudEvents HTTP Webhook 1.0 §4), for one URL.
type shake struct {
	URL     string    `json:"url"` // digest
	Word    string    `json:"word"`
	Rate    int       `json:"rate,omitempty"` // posts a minute; 0: any
	At      time.Time `json:"at"`
	Message string    `json:"message,omitempty"`
}

// Words of a handshake.
const (
	shakeYes    = "Allowed"
	shakeNo     = "Refused"
	shakeSilent = "Unknown" // the receiver does not know of it
)

// handshake asks the receiver once for each URL whether it wants events. Errors: Denied when it does not; Unavailable when it
// must say and could not be asked.
func (f *Function) handshake(ctx context.Context, w *v1alpha1.Webhook, h ledger.Hook, state ledger.HookState, keys hook.Keys, hc *http.Client) (shake, error) {
	if w.Spec.Handshake == v1alpha1.HandshakeNone {
		return shake{Word: shakeSilent}, nil
	}
	url, said := event.DeriveID(w.Spec.URL), state.Handshake
	var s, permit shake
	// A yes through the callback goes before what was said at once, unless that is younger and a no.
	if state.Permit != "" && json.Unmarshal([]byte(state.Permit), &permit) == nil && permit.URL == url {
		if said == "" || json.Unmarshal([]byte(said), &s) != nil || s.Word != shakeNo || s.URL != url || !s.At.After(permit.At) {
			return permit, nil
		}
	}
	if said != "" && json.Unmarshal([]byte(said), &s) == nil && s.URL == url {
		again := s.Word == shakeNo || s.Word == shakeSilent && w.Spec.Handshake == v1alpha1.HandshakeRequire
		if !again || f.d.Now().Sub(s.At) < handshakeAgain {
			return s, s.judge(w)
		}
	}
	s, err := f.ask(ctx, w, keys, hc)
	if err != nil {
		if w.Spec.Handshake == v1alpha1.HandshakeRequire {
			return s, err
		}
		return shake{Word: shakeSilent}, nil // the post will tell; and it is asked again
	}
	s.URL, s.At = url, f.d.Now().UTC()
	b, err := json.Marshal(s)
	if err != nil {
		return s, errs.New(errs.Internal, "handshake: %w", err)
	}
	if err := f.d.Ledger.SetHook(ctx, h, ledger.HookNote{Handshake: string(b)}); err != nil {
		return s, err
	}
	return s, s.judge(w)
}

func (s shake) judge(w *v1alpha1.Webhook) error {
	switch {
	case s.Word == shakeNo:
		return errs.New(errs.Denied, "the receiver refuses events of this platform: %s", s.Message)
	case s.Word == shakeSilent && w.Spec.Handshake == v1alpha1.HandshakeRequire:
		return errs.New(errs.Denied, "the receiver did not answer the handshake: %s", s.Message).WithMend("it answers OPTIONS with WebHook-Allowed-Origin, or calls WebHook-Request-Callback later; or set handshake: Ask")
	}
	return nil
}

// permitted takes a yes that came through the callback: the line goes on at once.
func (f *Function) permitted(ctx context.Context, p event.WebhookPermission) error {
	h := ledger.Hook{Namespace: p.Namespace, Name: p.Webhook}
	w, err := f.d.Client.Webhooks.Get(ctx, p.Namespace, p.Webhook)
	if errs.Is(err, errs.NotFound) || err == nil && event.DeriveID(w.Spec.URL) != p.URL {
		return nil // it is gone, or goes elsewhere now
	}
	if err != nil {
		return err
	}
	b, err := json.Marshal(shake{URL: p.URL, Word: shakeYes, Rate: max(0, p.Rate), At: f.d.Now().UTC(), Message: "by the callback"})
	if err != nil {
		return errs.New(errs.Internal, "handshake: %w", err)
	}
	if err := f.d.Ledger.SetHook(ctx, h, ledger.HookNote{Permit: string(b), Fresh: true}); err != nil {
		return err
	}
	return f.d.Ledger.MarkDue(ctx, event.Timer{Kind: ledger.DueHook, Namespace: h.Namespace, Name: h.Name})
}

// callback is where a receiver can say yes later (CloudEvents HTTP Webhook 1.0 §4.1.3); "" when none is offered.
func (f *Function) callback(w *v1alpha1.Webhook, keys hook.Keys) string {
	token := keys.Permission(w.Namespace, w.Name, string(w.UID), w.Spec.URL)
	if f.d.Callback == "" || token == "" {
		return ""
	}
	return strings.TrimRight(f.d.Callback, "/") + "/hooks/" + w.Namespace + "/" + w.Name + "/permit/" + token
}

func (f *Function) ask(ctx context.Context, w *v1alpha1.Webhook, keys hook.Keys, hc *http.Client) (shake, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodOptions, w.Spec.URL, nil)
	if err != nil {
		return shake{}, errs.New(errs.Invalid, "%w", err)
	}
	req.Header.Set("WebHook-Request-Origin", f.d.Origin)
	if c := f.callback(w, keys); c != "" {
		req.Header.Set("WebHook-Request-Callback", c)
	}
	req.Header.Set("User-Agent", userAgent)
	resp, err := hc.Do(req)
	if err != nil {
		return shake{}, errs.New(errs.Unavailable, "handshake: %w", err)
	}
	resp.Body.Close()
	s := shake{Word: shakeSilent, Message: resp.Status}
	allowed := strings.TrimSpace(resp.Header.Get("WebHook-Allowed-Origin"))
	switch {
	case allowed == "":
	case resp.StatusCode/100 != 2 || allowed != "*" && !strings.EqualFold(allowed, f.d.Origin):
		s.Word, s.Message = shakeNo, "it allows "+clip(allowed, 256)
	default:
		s.Word = shakeYes
		if n, err := strconv.Atoi(resp.Header.Get("WebHook-Allowed-Rate")); err == nil && n > 0 {
			s.Rate = n
		}
	}
	return s, nil
}
