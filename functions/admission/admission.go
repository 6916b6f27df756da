// Package admission decides whether the API server takes a Wasmbed object as it is given: what the CRDs' schemas and CEL
// rules cannot say, says api/validate; here it is asked for the right objects of an AdmissionRequest, and put into
// Kubernetes' words. There is no transport in it: cmd/admission serves it.
//
// It is advice and a guard, not the platform's safety: the functions check again what they use, so that a cluster whose
// admission is away deploys as before and says later, in conditions, what would have been said at once.
package admission

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json" // exact about case, as the API server is

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/api/validate"
)

// lookUpTime bounds all look-ups of one review. It is below the webhooks' timeoutSeconds, so that an API server that is
// slow to answer us makes a warning, not a refusal.
const lookUpTime = 2 * time.Second

// Function is the function. Safe for concurrent use.
type Function struct {
	check *validate.Validator
	kinds map[string]kind
}

// New returns the function.
func New(check *validate.Validator) *Function {
	return &Function{check: check, kinds: map[string]kind{
		v1alpha1.KindDevice:        of(check.Device, nil),
		v1alpha1.KindApplication:   of(check.Application, nil),
		v1alpha1.KindModule:        of(check.Module, check.ModuleGone),
		v1alpha1.KindGateway:       of(check.Gateway, check.GatewayGone),
		v1alpha1.KindWebhook:       of(check.Webhook, nil),
		v1alpha1.KindWebhookSource: of(check.WebhookSource, nil),
		v1alpha1.KindRevision:      of(check.Revision, check.RevisionGone),
	}}
}

// kind judges the raw objects of one kind. Either may be empty. The error is that of decoding.
type kind func(ctx context.Context, op admissionv1.Operation, old, object []byte, about about) (validate.Findings, error)

// about is what a request says of an object besides its JSON: a new one has no namespace in it, perhaps.
type about struct{ namespace, name string }

// object is a pointer to one of our types.
type object[T any] interface {
	*T
	metav1.Object
}

// of makes a kind of the checks of its type; gone may be nil.
func of[T any, PT object[T]](check func(ctx context.Context, old, o PT) validate.Findings, gone func(context.Context, PT) validate.Findings) kind {
	read := func(raw []byte, a about) (PT, error) {
		if len(raw) == 0 || string(raw) == "null" {
			return nil, nil
		}
		o := PT(new(T))
		if err := json.Unmarshal(raw, o); err != nil {
			return nil, err
		}
		o.SetNamespace(a.namespace) // the request's word: it is what was authorized
		if o.GetName() == "" {
			o.SetName(a.name)
		}
		return o, nil
	}
	return func(ctx context.Context, op admissionv1.Operation, rawOld, raw []byte, a about) (validate.Findings, error) {
		old, err := read(rawOld, a)
		if err != nil {
			return nil, err
		}
		o, err := read(raw, a)
		if err != nil {
			return nil, err
		}
		switch {
		case op == admissionv1.Delete && old != nil && gone != nil:
			return gone(ctx, old), nil
		case op == admissionv1.Create && o != nil:
			return check(ctx, nil, o), nil
		case op == admissionv1.Update && o != nil && old != nil:
			return check(ctx, old, o), nil
		}
		return nil, nil
	}
}

// Validate judges an object. It changes nothing, so it serves dry runs too. What is not one of our kinds, or a subresource,
// is not judged.
func (f *Function) Validate(ctx context.Context, r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	k, ours := f.kinds[kindOf(r)]
	if !ours || r.SubResource != "" {
		return &admissionv1.AdmissionResponse{Allowed: true}
	}
	ctx, cancel := context.WithTimeout(ctx, lookUpTime)
	defer cancel()
	found, err := k(ctx, r.Operation, r.OldObject.Raw, r.Object.Raw, about{r.Namespace, r.Name})
	if err != nil {
		return undecodable(r, err)
	}
	out := &admissionv1.AdmissionResponse{Allowed: true, Warnings: found.Warnings()}
	bad := found.Errors()
	if len(bad) == 0 {
		return out
	}
	out.Allowed, out.Result = false, refusal(r, bad)
	return out
}

// kindOf is the kind of the request's object in our version: the API server converts to it (matchPolicy Equivalent).
func kindOf(r *admissionv1.AdmissionRequest) string {
	if r.Kind.Group != v1alpha1.Group || r.Kind.Version != v1alpha1.GroupVersion.Version {
		return ""
	}
	return r.Kind.Kind
}

// refusal is a Status as the API server's own validation makes it: kubectl prints the message, programs read the causes.
func refusal(r *admissionv1.AdmissionRequest, bad validate.Findings) *metav1.Status {
	s := &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
		Details: &metav1.StatusDetails{Group: r.Kind.Group, Kind: r.Kind.Kind, Name: r.Name},
	}
	lines := make([]string, len(bad))
	for i, f := range bad {
		lines[i] = f.String()
		c := metav1.StatusCause{Type: metav1.CauseTypeFieldValueInvalid, Field: f.Field}
		f.Field = ""
		c.Message = f.String()
		s.Details.Causes = append(s.Details.Causes, c)
	}
	s.Message = strings.Join(lines, "; ")
	return s
}

func undecodable(r *admissionv1.AdmissionRequest, err error) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Result: &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusBadRequest, Reason: metav1.StatusReasonBadRequest,
		Message: fmt.Sprintf("%s %s/%s does not decode: %v", r.Kind.Kind, r.Namespace, r.Name, err),
	}}
}
