package deploy

import (
	"context"
	"fmt"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/notice"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// module describes a Module in its status, and looks again at the applications that waited for it.
func (f *Function) module(ctx context.Context, e ce.Event, namespace, name string) error {
	m, err := f.d.Client.Modules.Get(ctx, namespace, name)
	if err != nil {
		return ignoreNotFound(err) // revisions hold digests; who needs the bytes says so
	}
	if err := f.moduleStatus(ctx, m); err != nil {
		return err
	}
	if m.Labels[labelInline] == "true" {
		return nil // made by this function, for an application that goes on by itself
	}
	var waiting []ledger.App
	err = f.eachApplication(ctx, namespace, func(a *v1alpha1.Application) error {
		if a.Spec.Module.Name == name && a.DeletionTimestamp == nil && !settled(a) {
			waiting = append(waiting, ledger.App{Namespace: a.Namespace, Name: a.Name})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range waiting {
		if err := f.application(ctx, e, key, onDoubt); err != nil {
			return err
		}
	}
	return nil
}

func (f *Function) moduleStatus(ctx context.Context, m *v1alpha1.Module) error {
	if m.DeletionTimestamp != nil {
		return nil
	}
	old := m.Status.DeepCopy()
	c := metav1.Condition{Type: v1alpha1.ConditionValid, Status: metav1.ConditionFalse, ObservedGeneration: m.Generation, LastTransitionTime: metav1.NewTime(f.d.Now())}
	s := v1alpha1.ModuleStatus{ObservedGeneration: m.Generation, Conditions: m.Status.Conditions, Digest: module.Digest(m.Spec.Bytes), Size: int64(len(m.Spec.Bytes))}
	info, err := module.Inspect(m.Spec.Bytes)
	switch p := digestProblem(m); {
	case p != nil:
		c.Reason, c.Message = p.reason, p.message
	case err != nil:
		c.Reason, c.Message = "ModuleInvalid", err.Error()
		if r := module.ReasonOf(err); r != "" {
			c.Reason = r
		}
	default:
		c.Status, c.Reason = metav1.ConditionTrue, "Valid"
		c.Message = fmt.Sprintf("a WebAssembly module of %d bytes with %s", info.Size, plural(info.Functions, "function"))
		s.MemoryPages = int32(info.MemoryPages)
		for _, i := range info.Imports {
			s.Imports = append(s.Imports, i.String())
		}
		for _, x := range info.Exports {
			s.Exports = append(s.Exports, x.Name)
		}
	}
	meta.SetStatusCondition(&s.Conditions, c)
	if equality.Semantic.DeepEqual(old, &s) {
		return nil
	}
	m.Status = s
	_, err = f.d.Client.Modules.UpdateStatus(ctx, m)
	return ignoreNotFound(err)
}

// missed brings a module's bytes to where gateways look for them.
func (f *Function) missed(ctx context.Context, e ce.Event) error {
	miss, err := event.Data[event.ModuleMiss](e)
	if err != nil {
		return err
	}
	_, err = f.d.Ledger.Module(ctx, miss.Namespace, miss.Digest)
	if !errs.Is(err, errs.NotFound) {
		return err
	}
	var needs []v1alpha1.Revision
	err = client.All(ctx, f.d.Client.Revisions, miss.Namespace, labelDigest+"="+digestLabel(miss.Digest), func(r *v1alpha1.Revision) error {
		if r.Spec.Module.Digest == miss.Digest {
			needs = append(needs, *r.DeepCopy())
		}
		return nil
	})
	if err != nil {
		return err
	}
	var why error = &problem{reasonModuleNotFound, "no revision has module " + miss.Digest}
	for i := range needs {
		r := &needs[i]
		app, err := f.d.Client.Applications.Get(ctx, r.Namespace, r.Spec.Application)
		if err != nil && !errs.Is(err, errs.NotFound) {
			return err
		}
		b, err := f.bytesOf(ctx, miss.Namespace, r.Spec.Module, app)
		if err == nil {
			return f.d.Ledger.PutModule(ctx, miss.Namespace, miss.Digest, b)
		}
		if _, ok := err.(*problem); !ok {
			return err
		}
		why = err
	}
	// The gateway will ask again; meanwhile the devices run into their deadline, and people can read why.
	f.d.Log.Warn("a module is asked for and cannot be had", "namespace", miss.Namespace, "digest", miss.Digest, "err", why)
	for _, r := range needs {
		about := notice.About{Kind: v1alpha1.KindApplication, Namespace: r.Namespace, Name: r.Spec.Application}
		if err := f.notice.Warning(ctx, about, "ModuleMissing", fmt.Sprintf("the module of revision %s cannot be had: %v", r.Name, why)); err != nil {
			f.d.Log.Info("notice not written", "app", about.Namespace+"/"+about.Name, "err", err)
		}
	}
	return nil
}
