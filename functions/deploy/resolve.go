package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// Reasons why an application's module or targets cannot be used, beside those of api/module.
const (
	reasonModuleNotFound    = "ModuleNotFound"
	reasonModuleInvalid     = "ModuleInvalid" // the reference or its image
	reasonModuleUnavailable = "ModuleUnavailable"
	reasonModuleDenied      = "ModuleDenied"
	reasonTargetsInvalid    = "TargetsInvalid"
	reasonNameTooLong       = "NameTooLong"
)

// problem is what keeps a spec from becoming a rollout until somebody changes something. It is an error so
// that it ends a resolution; it never leaves this package.
type problem struct{ reason, message string }

func (p *problem) Error() string { return p.reason + ": " + p.message }

// labelInline marks Modules that were made from inline bytes; only those are ever deleted.
const labelInline = "wasmbed.io/inline"

// resolved is a module that may run with the manifest that it was checked with.
type resolved struct {
	module v1alpha1.ResolvedModule
	bytes  []byte
	origin string // the OCI reference as written
}

// resolve finds and checks the module of a spec. The error is a *problem, or one that a retry may mend.
func (f *Function) resolve(ctx context.Context, app *v1alpha1.Application) (resolved, error) {
	if len(app.Name) > maxAppName {
		return resolved{}, &problem{reasonNameTooLong, fmt.Sprintf("the application's name has %d characters, at most %d can be deployed", len(app.Name), maxAppName)}
	}
	r, err := f.source(ctx, app)
	if err != nil {
		return resolved{}, err
	}
	info, err := module.Inspect(r.bytes)
	if err == nil {
		m := *app.Spec.Manifest.DeepCopy()
		m.Default()
		err = module.Check(info, m)
	}
	if err != nil {
		return resolved{}, moduleProblem(err)
	}
	f.infos.put(info)
	r.module.Digest, r.module.Size = info.Digest, int64(info.Size)
	if r.module.Name == "" && r.module.OCI == "" { // inline: only what is valid becomes an object
		if r.module.Name, err = f.keepInline(ctx, app, info.Digest, r.bytes); err != nil {
			return resolved{}, err
		}
	}
	return r, nil
}

func moduleProblem(err error) error {
	var p *module.Problem
	if errors.As(err, &p) {
		return &problem{p.Reason, p.Message}
	}
	if c := errs.CodeOf(err); c == errs.Invalid || c == errs.TooLarge {
		return &problem{reasonModuleInvalid, err.Error()}
	}
	return err
}

// source gets the bytes.
func (f *Function) source(ctx context.Context, app *v1alpha1.Application) (resolved, error) {
	switch s := app.Spec.Module; {
	case len(s.Inline) > 0:
		return resolved{bytes: s.Inline}, nil
	case s.Name != "":
		m, err := f.d.Client.Modules.Get(ctx, app.Namespace, s.Name)
		if errs.Is(err, errs.NotFound) {
			return resolved{}, &problem{reasonModuleNotFound, fmt.Sprintf("there is no Module %s in namespace %s", s.Name, app.Namespace)}
		}
		if err != nil {
			return resolved{}, err
		}
		if p := digestProblem(m); p != nil {
			return resolved{}, p
		}
		return resolved{bytes: m.Spec.Bytes, module: v1alpha1.ResolvedModule{Name: m.Name}}, nil
	case s.OCI != "":
		b, byDigest, err := f.pull(ctx, s.OCI)
		if err != nil {
			return resolved{}, err
		}
		return resolved{bytes: b, module: v1alpha1.ResolvedModule{OCI: byDigest}, origin: s.OCI}, nil
	}
	return resolved{}, &problem{reasonModuleNotFound, "spec.module names no module"}
}

func digestProblem(m *v1alpha1.Module) *problem {
	if p := module.DigestProblem(m.Spec.Digest, m.Spec.Bytes); p != nil {
		return &problem{p.Reason, fmt.Sprintf("Module %s: %s", m.Name, p.Message)}
	}
	return nil
}

// pull reads a module from its registry. One that failed is not asked for again at once: devices that come
// and go make applications be looked at often.
func (f *Function) pull(ctx context.Context, reference string) ([]byte, string, error) {
	now := f.d.Now()
	if p := f.pulls.failed(reference, now); p != nil {
		return nil, "", p
	}
	b, byDigest, err := f.d.Registry.Pull(ctx, reference)
	if err != nil {
		p := pullProblem(err)
		f.pulls.fail(reference, p, now.Add(pullAgain))
		return nil, "", p
	}
	return b, byDigest, nil
}

// pullProblem makes a condition of every failure of a registry: a person has to see it, and the broker's
// retries end before a registry's outage does. The unavailable ones are tried again by a timer.
func pullProblem(err error) *problem {
	switch errs.CodeOf(err) {
	case errs.NotFound:
		return &problem{reasonModuleNotFound, err.Error()}
	case errs.Denied:
		return &problem{reasonModuleDenied, err.Error()}
	case errs.TooLarge:
		return &problem{module.ReasonModuleTooLarge, err.Error()}
	case errs.Invalid:
		return &problem{reasonModuleInvalid, err.Error()}
	}
	return &problem{reasonModuleUnavailable, err.Error()}
}

// inlineName is the Module that holds inline bytes.
func inlineName(digest string) string { return "m-" + strings.TrimPrefix(digest, "sha256:")[:16] }

// keepInline moves inline bytes into a Module object, which revisions can refer to.
func (f *Function) keepInline(ctx context.Context, app *v1alpha1.Application, digest string, b []byte) (string, error) {
	name := inlineName(digest)
	old, err := f.d.Client.Modules.Get(ctx, app.Namespace, name)
	if errs.Is(err, errs.NotFound) {
		_, err = f.d.Client.Modules.Create(ctx, &v1alpha1.Module{
			ObjectMeta: metav1.ObjectMeta{Namespace: app.Namespace, Name: name, Labels: map[string]string{
				v1alpha1.LabelApplication: app.Name, labelInline: "true", v1alpha1.LabelManagedBy: "wasmbed-" + Name}},
			Spec: v1alpha1.ModuleSpec{Bytes: b, Digest: digest},
		})
		if errs.Is(err, errs.AlreadyExists) {
			err = errs.New(errs.Conflict, "module %s/%s was made meanwhile", app.Namespace, name)
		}
		return name, err
	}
	if err == nil && module.Digest(old.Spec.Bytes) != digest {
		return "", &problem{module.ReasonDigestMismatch, fmt.Sprintf("Module %s exists and holds other bytes", name)}
	}
	return name, err
}

// bytesOf finds the bytes of a resolved module: in its Module object or registry; else in the inline bytes
// of an application, whose Module somebody deleted and which is made again. The error is a *problem, or one
// that a retry may mend.
func (f *Function) bytesOf(ctx context.Context, namespace string, m v1alpha1.ResolvedModule, app *v1alpha1.Application) ([]byte, error) {
	var b []byte
	switch {
	case m.Name != "":
		o, err := f.d.Client.Modules.Get(ctx, namespace, m.Name)
		if errs.Is(err, errs.NotFound) {
			if app != nil && len(app.Spec.Module.Inline) > 0 && module.Digest(app.Spec.Module.Inline) == m.Digest {
				_, err := f.keepInline(ctx, app, m.Digest, app.Spec.Module.Inline)
				return app.Spec.Module.Inline, err
			}
			return nil, &problem{reasonModuleNotFound, fmt.Sprintf("there is no Module %s in namespace %s any more", m.Name, namespace)}
		}
		if err != nil {
			return nil, err
		}
		b = o.Spec.Bytes
	case m.OCI != "":
		var err error
		if b, _, err = f.pull(ctx, m.OCI); err != nil {
			return nil, err
		}
	}
	if got := module.Digest(b); got != m.Digest {
		return nil, &problem{module.ReasonDigestMismatch, fmt.Sprintf("the revision's module is %s, what was found is %s", m.Digest, got)}
	}
	return b, nil
}

// stock makes sure that gateways find the module in the ledger, and returns what it is. The error is a
// *problem, or one that a retry may mend.
func (f *Function) stock(ctx context.Context, namespace string, m v1alpha1.ResolvedModule, app *v1alpha1.Application, fresh []byte) (module.Info, error) {
	b, err := f.d.Ledger.Module(ctx, namespace, m.Digest)
	if errs.Is(err, errs.NotFound) {
		if b = fresh; b == nil {
			if b, err = f.bytesOf(ctx, namespace, m, app); err != nil {
				return module.Info{}, err
			}
		}
		err = f.d.Ledger.PutModule(ctx, namespace, m.Digest, b)
	}
	if err != nil {
		return module.Info{}, err
	}
	if i, ok := f.infos.get(m.Digest); ok {
		return i, nil
	}
	i, err := module.Inspect(b)
	if err != nil {
		return module.Info{}, moduleProblem(err)
	}
	f.infos.put(i)
	return i, nil
}

// unfit says why a device cannot hold a module: a reason in the words of the device protocol and a
// message, or "". What a device does not tell of itself (0) is not held against it.
func unfit(c ledger.Candidate, i module.Info, m v1alpha1.Manifest) (reason, message string) {
	p := module.Fit(i, m, module.Room{
		Name:         "board " + c.Board,
		ModuleSize:   int64(c.Capabilities.ModuleSize),
		ModuleMemory: int64(c.Capabilities.ModuleMemory),
		Permissions:  c.Capabilities.Permissions,
	})
	if p == nil {
		return "", ""
	}
	return p.Reason, p.Message
}

// refusals are the reasons that say nothing against a revision: the device cannot hold it.
func refusals() []string {
	return []string{module.ReasonModuleTooLarge, module.ReasonInsufficientMemory, "TooManyApps", "StorageFull", "Unsupported"}
}
