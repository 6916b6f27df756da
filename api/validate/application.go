package validate

import (
	"context"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"

	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// timerEntry is the export that a manifest's timers call (docs/spec/abi.md).
const timerEntry = "wasmbed_timer"

// Application checks an Application; old is nil for a new one.
func (v *Validator) Application(ctx context.Context, old, a *v1alpha1.Application) Findings {
	var fs Findings
	if a.DeletionTimestamp != nil {
		return nil
	}
	v.rollbackTo(ctx, &fs, old, a)
	if old != nil && equality.Semantic.DeepEqual(old.Spec, a.Spec) {
		return fs
	}
	s := a.Spec
	newModule := old == nil || !equality.Semantic.DeepEqual(old.Spec.Module, s.Module) || !equality.Semantic.DeepEqual(old.Spec.Manifest, s.Manifest)
	newTargets := old == nil || !equality.Semantic.DeepEqual(old.Spec.Targets, s.Targets)
	manifest := *s.Manifest.DeepCopy()
	manifest.Default()

	var info *module.Info
	if newModule {
		info = v.moduleOf(ctx, &fs, a, manifest)
		timers(&fs, info, manifest)
	}
	if newTargets && !targets(&fs, s.Targets) {
		return fs
	}
	if newModule || newTargets {
		if info == nil && !newModule && s.Module.OCI == "" {
			var quiet Findings // what was wrong with the module before is not said again
			info = v.moduleOf(ctx, &quiet, a, manifest)
		}
		v.targeted(ctx, &fs, a, newTargets, info, manifest)
	}
	if old == nil || !equality.Semantic.DeepEqual(old.Spec.Rollout, s.Rollout) || newModule {
		rollout(&fs, s, manifest)
	}
	return fs
}

// rollbackTo checks the wish for a rollback that somebody wrote into an annotation.
func (v *Validator) rollbackTo(ctx context.Context, fs *Findings, old, a *v1alpha1.Application) {
	to, has := a.Annotations[v1alpha1.AnnotationRollbackTo]
	if !has || to == "" {
		return
	}
	if old != nil {
		if was, had := old.Annotations[v1alpha1.AnnotationRollbackTo]; had && was == to {
			return
		}
	}
	field := "metadata.annotations[" + v1alpha1.AnnotationRollbackTo + "]"
	const mend = "kubectl get revisions shows them; an empty value is the last one that was complete"
	switch r, err := v.world.Revision(ctx, a.Namespace, to); {
	case errs.Is(err, errs.NotFound):
		fs.refuse(field, "", mend, "there is no Revision %s in namespace %s", to, a.Namespace)
	case err != nil:
		fs.unknown(field, err)
	case r.Spec.Application != a.Name:
		fs.refuse(field, "", mend, "%s is a Revision of application %s", to, r.Spec.Application)
	}
}

// moduleOf finds and checks the module of a spec; nil when it cannot be had, or is wrong.
func (v *Validator) moduleOf(ctx context.Context, fs *Findings, a *v1alpha1.Application, m v1alpha1.Manifest) *module.Info {
	field, b := "spec.module.inline", a.Spec.Module.Inline
	switch s := a.Spec.Module; {
	case s.OCI != "":
		v.reference(fs, "spec.module.oci", s.OCI)
		return nil
	case s.Name != "":
		field = "spec.module.name"
		o, err := v.world.Module(ctx, a.Namespace, s.Name)
		switch {
		case errs.Is(err, errs.NotFound):
			fs.warn(field, "ModuleNotFound", "", "there is no Module %s in namespace %s: nothing is deployed until there is", s.Name, a.Namespace)
			return nil
		case err != nil:
			fs.unknown(field, err)
			return nil
		}
		if p := module.DigestProblem(o.Spec.Digest, o.Spec.Bytes); p != nil {
			fs.refuse(field, p.Reason, "make a new Module", "Module %s: %s", s.Name, p.Message)
			return nil
		}
		b = o.Spec.Bytes
	}
	info, ok := runnable(fs, field, b, m)
	if !ok {
		return nil
	}
	return &info
}

func (v *Validator) reference(fs *Findings, field, text string) {
	ref, err := ParseReference(text)
	if err != nil {
		fs.refuse(field, "ModuleInvalid", "registry.example.org/team/module:1.2 or …@sha256:<64 hex digits>", "not the reference of an OCI artifact: %v", err)
		return
	}
	if ref.Digest == "" {
		fs.warn(field, "", "name@sha256:… names the bytes for good", "a tag may name other bytes tomorrow: it is resolved once, when the revision is made")
	}
}

func timers(fs *Findings, info *module.Info, m v1alpha1.Manifest) {
	if info == nil || len(m.Timers) == 0 {
		return
	}
	if !slices.ContainsFunc(info.Exports, func(e module.Export) bool {
		return e.Name == timerEntry && e.Kind == module.KindFunc && e.Type == module.FuncType{Params: "i", Results: "i"}
	}) {
		fs.warn("spec.manifest.timers", "", "export it, or leave the timers out", "the module exports no function %s (i32) -> (i32): its timers call nothing", timerEntry)
	}
}

func rollout(fs *Findings, s v1alpha1.ApplicationSpec, m v1alpha1.Manifest) {
	deadline := v1alpha1.DefaultProgressDeadline
	if d := s.Rollout.ProgressDeadline; d != nil && d.Duration > 0 {
		deadline = d.Duration
	}
	if w := m.Health.Window; w != nil && w.Duration >= deadline {
		fs.warn("spec.rollout.progressDeadline", "", "a deadline above the window, with time to load the module",
			"every device would be given up at %v, before spec.manifest.health.window (%v) lets it count as updated", deadline, w.Duration)
	}
}

// targets checks what targets say, without looking at devices.
func targets(fs *Findings, t v1alpha1.Targets) bool {
	before := len(*fs)
	for i, n := range t.Names {
		field := indexed("spec.targets.names", i)
		switch space, name, two := strings.Cut(n, "/"); {
		case two && space != "" && name != "":
			fs.refuse(field, "TargetsInvalid", "an Application in namespace "+space+" runs there", "%s names a device of namespace %s: an application's devices are those of its own", n, space)
		case !isLabel(n):
			fs.refuse(field, "TargetsInvalid", "", "%q is no device's name: those have 1 to 63 of a-z, 0-9 and -, and begin and end with a letter or digit", n)
		}
	}
	selector(fs, "spec.targets.selector", t.Selector)
	return len(*fs) == before
}
