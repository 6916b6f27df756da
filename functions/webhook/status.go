package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/notice"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

const conflictAttempts = 5

func metaTime(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second)) }

// stopReason says why the webhook must be disabled, "" when it must not.
func (r *run) stopReason() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.gone != "":
		return reasonGone
	case r.failures >= leastFailures && !r.since.IsZero() && r.f.d.Now().Sub(r.since) >= r.w.Spec.DisableAfter.Duration:
		return reasonSustained
	}
	return ""
}

// finish lets go of the line and brings the status up to date, now or with the next timer: a busy webhook's counts are not
// written with each event.
func (f *Function) finish(ctx context.Context, r *run, ok ready, idle ledger.Idle) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialTimeout)
	defer cancel()
	state, err := f.d.Ledger.HookState(ctx, r.h)
	if err != nil {
		return err
	}
	now := f.d.Now()
	turned := conditionOf(r.w, ok) != readyNow(r.w)
	if wait := statusPace - now.Sub(state.Written); state.Dirty && !turned && state.Generation == r.w.Generation && wait > 0 {
		idle.Look = now.Add(wait)
	} else if state.Dirty || turned || state.Generation != r.w.Generation {
		if err := f.writeStatus(ctx, r, state, ok, nil); err != nil {
			return err
		}
	}
	return f.d.Ledger.IdleHook(ctx, r.h, r.token, idle)
}

// disable switches a webhook off, and says so.
func (f *Function) disable(ctx context.Context, e ce.Event, r *run, reason string) (*ce.Event, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialTimeout)
	defer cancel()
	state, err := f.d.Ledger.HookState(ctx, r.h)
	if err != nil {
		return nil, err
	}
	message := "the receiver says that it is gone (410)"
	if reason == reasonSustained {
		var last v1alpha1.WebhookDelivery
		_ = json.Unmarshal([]byte(state.Last), &last) // then there is no last word
		message = fmt.Sprintf("nothing was delivered since %s, in %d attempts: %s %s", r.since.UTC().Format(time.RFC3339), r.failures, last.Reason, last.Message)
	}
	off := &metav1.Condition{Type: v1alpha1.ConditionDisabled, Status: metav1.ConditionTrue, Reason: reason, Message: clip(message, ledger.MaxMessage), ObservedGeneration: r.w.Generation}
	if err := f.writeStatus(ctx, r, state, ready{"Disabled", message}, off); err != nil {
		return nil, err
	}
	f.forget(r.h.Namespace)
	if err := f.notice.Warning(ctx, notice.About{Kind: v1alpha1.KindWebhook, Namespace: r.h.Namespace, Name: r.h.Name, UID: r.w.UID}, reason, "disabled: "+message); err != nil {
		f.d.Log.Debug("notice not written", "webhook", r.h.String(), "err", err)
	}
	f.d.Log.Warn("a webhook is disabled", "webhook", r.h.String(), "reason", reason, "message", message)
	if err := f.d.Ledger.IdleHook(ctx, r.h, r.token, ledger.Idle{Stop: true}); err != nil {
		return nil, err
	}
	out, err := event.New(event.WebhookDisabled, source, r.h.String(), event.DeriveID(r.h.String(), string(r.w.UID), fmt.Sprint(r.w.Generation), "disabled"), event.WebhookStopped{
		Namespace: r.h.Namespace, Webhook: r.h.Name, Reason: reason, Message: message, Failures: r.failures, Since: r.since, Waiting: state.Waiting, Time: f.d.Now().UTC(),
	}, event.In(r.h.Namespace), event.At(f.d.Now()), event.After(e))
	if err != nil {
		return nil, err
	}
	return &out, nil
}

// conditionOf is the reason of condition Ready.
func conditionOf(w *v1alpha1.Webhook, ok ready) string {
	switch {
	case disabled(w):
		return "Disabled"
	case w.Spec.Paused:
		return "Paused"
	case ok.reason != "":
		return ok.reason
	}
	return "Ready"
}

func readyNow(w *v1alpha1.Webhook) string {
	if c := meta.FindStatusCondition(w.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		return c.Reason
	}
	return ""
}

// writeStatus writes what is so. off: the webhook is disabled by this.
func (f *Function) writeStatus(ctx context.Context, r *run, state ledger.HookState, ok ready, off *metav1.Condition) error {
	// Before the write: it comes back as a change, which must be known for one's own.
	if err := f.d.Ledger.SetHook(ctx, r.h, ledger.HookNote{Generation: r.w.Generation}); err != nil {
		return err
	}
	for range conflictAttempts {
		w, err := f.d.Client.Webhooks.Get(ctx, r.h.Namespace, r.h.Name)
		if errs.Is(err, errs.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if off != nil && w.Generation != r.w.Generation {
			return nil // somebody changed it meanwhile: it has its new chance
		}
		old := w.Status.DeepCopy()
		s := &w.Status
		s.ObservedGeneration = r.w.Generation
		s.Delivered, s.Failed, s.Dropped, s.Waiting, s.FailuresInARow = state.Delivered, state.Failed, state.Dropped, state.Waiting, state.FailuresInARow
		var last v1alpha1.WebhookDelivery
		if state.Last != "" && json.Unmarshal([]byte(state.Last), &last) == nil {
			s.LastDelivery = &last
		}
		if off != nil {
			meta.SetStatusCondition(&s.Conditions, *off)
		} else if !disabled(w) {
			meta.SetStatusCondition(&s.Conditions, metav1.Condition{Type: v1alpha1.ConditionDisabled, Status: metav1.ConditionFalse, Reason: "Enabled", ObservedGeneration: r.w.Generation})
		}
		reason := conditionOf(w, ok)
		c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason, Message: clip(ok.message, ledger.MaxMessage), ObservedGeneration: r.w.Generation}
		switch reason {
		case "Ready":
			c.Status = metav1.ConditionTrue
		case "Paused":
			c.Message = "spec.paused is set"
		case "Disabled":
			if d := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionDisabled); d != nil {
				c.Message = d.Message
			}
		}
		meta.SetStatusCondition(&s.Conditions, c)
		if !equality.Semantic.DeepEqual(old, s) {
			_, err = f.d.Client.Webhooks.UpdateStatus(ctx, w)
			if errs.Is(err, errs.Conflict) {
				continue
			}
			if err != nil && !errs.Is(err, errs.NotFound) {
				return err
			}
		}
		return f.d.Ledger.SetHook(ctx, r.h, ledger.HookNote{Written: true})
	}
	return errs.New(errs.Conflict, "status of webhook %s changes too fast", r.h.String())
}
