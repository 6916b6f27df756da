package webhook

import (
	"context"
	"encoding/json"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/hook"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// source writes a WebhookSource's status: whether its requests can be verified, and what came, which the REST API noted in
// the ledger. changed: its spec is another one than that whose status was written, or it is gone.
func (f *Function) source(ctx context.Context, h ledger.Hook) (changed bool, err error) {
	for range conflictAttempts {
		changed, err = f.trySource(ctx, h)
		if !errs.Is(err, errs.Conflict) {
			return changed, err
		}
	}
	return changed, err
}

func (f *Function) trySource(ctx context.Context, h ledger.Hook) (changed bool, err error) {
	s, err := f.d.Client.HookSources.Get(ctx, h.Namespace, h.Name)
	if errs.Is(err, errs.NotFound) {
		return true, f.d.Ledger.ForgetHookSource(ctx, h)
	}
	if err != nil {
		return false, err
	}
	was, spec := s.Status.DeepCopy(), *s
	spec.Default()
	changed = s.Status.ObservedGeneration != s.Generation
	came, err := f.d.Ledger.HookSource(ctx, h)
	if err != nil {
		return changed, err
	}
	st := &s.Status
	st.ObservedGeneration, st.Accepted, st.Refused, st.LastReceived, st.LastRefused = s.Generation, came.Accepted, came.Refused, nil, nil
	var took v1alpha1.HookReceipt
	if came.LastTook != "" && json.Unmarshal([]byte(came.LastTook), &took) == nil {
		st.LastReceived = &took
	}
	var refused v1alpha1.HookRefusal
	if came.LastRefused != "" && json.Unmarshal([]byte(came.LastRefused), &refused) == nil {
		st.LastRefused = &refused
	}
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Ready", ObservedGeneration: s.Generation}
	if bad, err := f.unverifiable(ctx, &spec); err != nil {
		return changed, err
	} else if bad.reason != "" {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, bad.reason, clip(bad.message, ledger.MaxMessage)
	}
	meta.SetStatusCondition(&st.Conditions, c)
	if equality.Semantic.DeepEqual(was, st) {
		return changed, nil
	}
	_, err = f.d.Client.HookSources.UpdateStatus(ctx, s)
	if errs.Is(err, errs.NotFound) {
		err = nil
	}
	return changed, err
}

// unverifiable says why requests of a source are not taken; its reason is empty when they are.
func (f *Function) unverifiable(ctx context.Context, s *v1alpha1.WebhookSource) (ready, error) {
	if s.Spec.Paused {
		return ready{"Paused", "spec.paused is set"}, nil
	}
	secret, err := f.d.Client.Secrets.Get(ctx, s.Namespace, s.Spec.SecretRef.Name)
	var c secretEntry
	if err = f.secretError(err, s.Namespace, s.Spec.SecretRef.Name, &c); err != nil {
		return ready{}, err
	}
	switch {
	case errs.Is(c.err, errs.NotFound):
		return ready{"SecretMissing", c.err.Error()}, nil
	case c.err != nil:
		return ready{"SecretDenied", c.err.Error()}, nil
	}
	if _, err := hook.ReadKeys(secret); err != nil {
		return ready{"SecretInvalid", err.Error()}, nil
	}
	return ready{}, nil
}
