package validate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"

	"wasmbed.io/wasmbed/api/hook"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// Webhook checks a Webhook; old is nil for a new one.
func (v *Validator) Webhook(ctx context.Context, old, w *v1alpha1.Webhook) Findings {
	var fs Findings
	if w.DeletionTimestamp != nil || old != nil && equality.Semantic.DeepEqual(old.Spec, w.Spec) {
		return nil
	}
	s := w.Spec
	if old == nil || old.Spec.URL != s.URL || old.Spec.AllowPrivate != s.AllowPrivate {
		if _, err := hook.ParseURL(s.URL, s.AllowPrivate); err != nil {
			cause, mend := split(err)
			fs.refuse("spec.url", "URLInvalid", mend, "%s", cause)
		}
	}
	if f := s.Filter; f != nil && f.Application != "" && (old == nil || !equality.Semantic.DeepEqual(old.Spec.Filter, f)) {
		if _, err := v.world.Application(ctx, w.Namespace, f.Application); errs.Is(err, errs.NotFound) {
			fs.warn("spec.filter.application", "", "", "there is no Application %s in namespace %s: nothing is sent until there is", f.Application, w.Namespace)
		} else if err != nil {
			fs.unknown("spec.filter.application", err)
		}
	}
	if old == nil || old.Spec.SecretRef != s.SecretRef {
		v.secret(ctx, &fs, w.Namespace, s.SecretRef)
	}
	if ca := s.CASecretRef; ca != nil && (old == nil || !equality.Semantic.DeepEqual(old.Spec.CASecretRef, ca)) {
		switch err := v.world.Secret(ctx, w.Namespace, ca.Name); {
		case errs.Is(err, errs.NotFound):
			fs.warn("spec.caSecretRef.name", "SecretMissing", "kubectl create secret generic NAME --from-file=ca.crt", "there is no Secret %s in namespace %s: nothing is sent until there is", ca.Name, w.Namespace)
		case err != nil:
			fs.unknown("spec.caSecretRef.name", err)
		}
	}
	return fs
}

// WebhookSource checks a WebhookSource; old is nil for a new one.
func (v *Validator) WebhookSource(ctx context.Context, old, w *v1alpha1.WebhookSource) Findings {
	var fs Findings
	if w.DeletionTimestamp != nil || old != nil && equality.Semantic.DeepEqual(old.Spec, w.Spec) {
		return nil
	}
	s := w.Spec
	if old == nil || !equality.Semantic.DeepEqual(old.Spec.Rules, s.Rules) {
		rules(&fs, s.Rules)
	}
	if old == nil || !equality.Semantic.DeepEqual(old.Spec.Verify, s.Verify) {
		if p := s.Verify.TimePath; p != "" {
			path(&fs, "spec.verify.timePath", hook.CheckPath(p))
		}
		if s.Verify.Scheme == v1alpha1.SchemeToken {
			fs.warn("spec.verify.scheme", "", "StandardWebhooks or GitHub, where the sender can", "a token says nothing about the body, and whoever sees one request can make others")
		}
	}
	if old == nil || old.Spec.SecretRef != s.SecretRef {
		v.secret(ctx, &fs, w.Namespace, s.SecretRef)
	}
	return fs
}

func rules(fs *Findings, of []v1alpha1.HookRule) {
	for i := range of {
		at := indexed("spec.rules", i)
		for j, c := range of[i].When {
			path(fs, indexed(at+".when", j)+".path", hook.CheckPath(c.Path))
		}
		for _, k := range slices.Sorted(maps.Keys(of[i].Data)) {
			path(fs, fmt.Sprintf("%s.data[%s]", at, k), hook.CheckText(of[i].Data[k]))
		}
		if len(of[i].When) == 0 && i < len(of)-1 {
			fs.warn(indexed("spec.rules", i+1), "", "put the rule without when last", "rule %d fits every request, so the rules behind it never do", i)
		}
	}
}

func path(fs *Findings, field string, err error) {
	if err != nil {
		cause, mend := split(err)
		if mend == "" {
			mend = "$.a.b[0] of the body, or header.NAME"
		}
		fs.refuse(field, "", mend, "%s", cause)
	}
}

func (v *Validator) secret(ctx context.Context, fs *Findings, namespace string, ref v1alpha1.SecretReference) {
	switch err := v.world.Secret(ctx, namespace, ref.Name); {
	case errs.Is(err, errs.NotFound):
		fs.warn("spec.secretRef.name", "SecretMissing", fmt.Sprintf("kubectl -n %s create secret generic %s --type=%s --from-literal=secret=whsec_…", namespace, ref.Name, v1alpha1.SecretTypeWebhook),
			"there is no Secret %s in namespace %s: nothing is sent or taken until there is", ref.Name, namespace)
	case err != nil:
		fs.unknown("spec.secretRef.name", err)
	}
}

// split takes an error's mend out of its text.
func split(err error) (cause, mend string) {
	var e *errs.Error
	if !errors.As(err, &e) {
		return err.Error(), ""
	}
	bare := *e
	bare.Mend = ""
	return bare.Error(), e.Mend
}
