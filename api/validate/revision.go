package validate

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"

	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// Revision checks a Revision; old is nil for a new one. deploy makes Revisions; whoever else does brings one back from a
// backup, or forges one: it must at least be what it says.
func (v *Validator) Revision(ctx context.Context, old, r *v1alpha1.Revision) Findings {
	var fs Findings
	if r.DeletionTimestamp != nil {
		return nil
	}
	if old != nil {
		if !equality.Semantic.DeepEqual(old.Spec, r.Spec) {
			fs.refuse("spec", "", "change the Application: it makes a new Revision", "a Revision is immutable")
		}
		return fs
	}
	s := r.Spec
	if want := fmt.Sprintf("%s-%d-%s", s.Application, s.Number, s.Hash[:min(len(s.Hash), 6)]); r.Name != want {
		fs.refuse("metadata.name", "", "", "revision %d of application %s is named %s", s.Number, s.Application, want)
	}
	if s.Module.OCI != "" {
		if ref, err := ParseReference(s.Module.OCI); err != nil {
			fs.refuse("spec.module.oci", "ModuleInvalid", "", "%v", err)
		} else if ref.Digest == "" {
			fs.refuse("spec.module.oci", "ModuleInvalid", "name@sha256:…", "a Revision names its module by digest")
		}
	}
	if s.Module.Name != "" {
		m, err := v.world.Module(ctx, r.Namespace, s.Module.Name)
		switch {
		case errs.Is(err, errs.NotFound):
			fs.warn("spec.module.name", "ModuleNotFound", "", "there is no Module %s in namespace %s: a rollback to this Revision fails until there is", s.Module.Name, r.Namespace)
		case err != nil:
			fs.unknown("spec.module.name", err)
		default:
			if p := module.DigestProblem(s.Module.Digest, m.Spec.Bytes); p != nil {
				fs.refuse("spec.module.digest", p.Reason, "", "Module %s: %s", m.Name, p.Message)
			}
		}
	}
	fs.warn("", "", "", "Revisions are made by the platform: make one only to bring it back from a backup")
	return fs
}

// RevisionGone says what a Revision that is to be deleted is still for.
func (v *Validator) RevisionGone(ctx context.Context, r *v1alpha1.Revision) Findings {
	var fs Findings
	a, err := v.world.Application(ctx, r.Namespace, r.Spec.Application)
	if err != nil || a.DeletionTimestamp != nil {
		return nil
	}
	switch r.Name {
	case a.Status.Revision:
		fs.warn("", "RevisionInUse", "", "application %s runs it: without it nothing more is sent to its devices until its spec changes", a.Name)
	case a.Status.StableRevision:
		fs.warn("", "RevisionInUse", "", "it is where a rollback of application %s goes", a.Name)
	}
	return fs
}
