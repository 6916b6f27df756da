package main

import (
	"context"
	"log/slog"

	admissionv1 "k8s.io/api/admission/v1"
	"knative.dev/pkg/webhook"

	"wasmbed.io/wasmbed/functions/admission"
)

// Paths of the webhooks, as config/admission has them.
const (
	validatePath = "/validate"
	defaultPath  = "/default"
)

// validating and mutating are the two doors. They wait for no informer: what they look up, they ask for when they need it.
type validating struct {
	webhook.StatelessAdmissionImpl
	f   *admission.Function
	log *slog.Logger
}

// Path implements webhook.AdmissionController.
func (validating) Path() string { return validatePath }

// Admit implements webhook.AdmissionController.
func (v validating) Admit(ctx context.Context, r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	return told(v.log, r, v.f.Validate(ctx, r))
}

type mutating struct {
	webhook.StatelessAdmissionImpl
	f   *admission.Function
	log *slog.Logger
}

// Path implements webhook.AdmissionController.
func (mutating) Path() string { return defaultPath }

// Admit implements webhook.AdmissionController.
func (m mutating) Admit(_ context.Context, r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	return told(m.log, r, m.f.Default(r))
}

func told(log *slog.Logger, r *admissionv1.AdmissionRequest, a *admissionv1.AdmissionResponse) *admissionv1.AdmissionResponse {
	if !a.Allowed {
		log.Info("refused", "kind", r.Kind.Kind, "namespace", r.Namespace, "name", r.Name, "operation", string(r.Operation), "user", r.UserInfo.Username, "why", a.Result.Message)
	}
	return a
}
