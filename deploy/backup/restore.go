package main

import (
	"context"
	"fmt"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"wasmbed.io/wasmbed/internal/errs"
)

// uidAnnotation of a Revision is the uid of its Application (functions/deploy): one of another life counts for nothing.
const uidAnnotation = "wasmbed.io/application-uid"

// restore makes what is not there. An object that is there is left alone: what somebody has done since is newer, and a
// restore that was interrupted goes on. Decisions are status, and truth (which revision crosses the fleet, and why), so
// status comes back too, told in the new object's uid and generation.
//
// The functions must not run meanwhile: deploy would take an Application whose status is not there yet for a new one, and
// roll out its spec, the rolled back one too. Errors: errs.Conflict when they do.
func restore(ctx context.Context, cfg *rest.Config, c *content, out io.Writer) error {
	d, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return errs.New(errs.Invalid, "kubernetes: %w", err)
	}
	_, err = d.Resource(triggers).Namespace(system).Get(ctx, "deploy", metav1.GetOptions{})
	switch {
	case err == nil:
		return errs.New(errs.Conflict, "the functions run here: there is a Trigger wasmbed-system/deploy").
			WithMend("restore into a cluster that has the CRDs and nothing else of Wasmbed (deploy/k3s/restore.sh), or delete the Triggers first")
	case !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err):
		return wrap(err, "Triggers")
	}
	uids := map[string]string{} // of Applications: before, now
	made, there := 0, 0
	for i := range c.Objects {
		o := &c.Objects[i]
		r := resource(d, o)
		if _, err := r.Get(ctx, o.GetName(), metav1.GetOptions{}); err == nil && o.GetKind() != "Application" {
			there++
			continue
		}
		fresh, err := one(ctx, r, o, uids)
		if err != nil {
			return wrap(err, fmt.Sprintf("%s %s/%s", o.GetKind(), o.GetNamespace(), o.GetName()))
		}
		if fresh {
			made++
		} else {
			there++
		}
	}
	if err := c.say(out); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "made %d, %d were there\n", made, there)
	return err
}

func resource(d dynamic.Interface, o *unstructured.Unstructured) dynamic.ResourceInterface {
	switch o.GetKind() {
	case "Namespace":
		return d.Resource(namespaces)
	case "Secret":
		return d.Resource(secrets).Namespace(o.GetNamespace())
	}
	for _, k := range kinds {
		if k.name == o.GetKind() {
			return d.Resource(ours(k.resource)).Namespace(o.GetNamespace())
		}
	}
	return nil // parse has refused it
}

// one makes an object and gives it its status. An Application that is there without a status is what an interrupted restore
// left, and gets it now.
func one(ctx context.Context, r dynamic.ResourceInterface, o *unstructured.Unstructured, uids map[string]string) (fresh bool, err error) {
	in := o.DeepCopy()
	before, generation := string(in.GetUID()), in.GetGeneration()
	status, _, _ := unstructured.NestedMap(in.Object, "status")
	delete(in.Object, "status")
	in.SetUID("")
	in.SetGeneration(0)
	if a := in.GetAnnotations(); a[uidAnnotation] != "" {
		now := uids[a[uidAnnotation]]
		if now == "" {
			return false, nil // of an Application that is gone: deploy would delete it
		}
		a[uidAnnotation] = now
		in.SetAnnotations(a)
	}
	now, err := r.Create(ctx, in, metav1.CreateOptions{FieldManager: "wasmbed-restore"})
	fresh = err == nil
	if apierrors.IsAlreadyExists(err) {
		if now, err = r.Get(ctx, in.GetName(), metav1.GetOptions{}); err == nil {
			if has, _, _ := unstructured.NestedMap(now.Object, "status", "rollout"); len(has) > 0 {
				status = nil
			}
		}
	}
	if err != nil {
		return false, err
	}
	if o.GetKind() == "Application" {
		uids[before] = string(now.GetUID())
	}
	if len(status) == 0 || o.GetKind() == "Namespace" {
		return fresh, nil
	}
	retell(status, generation, now.GetGeneration())
	now.Object["status"] = status
	_, err = r.UpdateStatus(ctx, now, metav1.UpdateOptions{FieldManager: "wasmbed-restore"})
	return fresh, err
}

// retell puts another generation in the place of one, wherever a status names it: what was decided for this spec is decided
// for it still. What was about an older generation stays older.
func retell(status map[string]any, was, is int64) {
	for k, v := range status {
		switch v := v.(type) {
		case map[string]any:
			retell(v, was, is)
		case []any:
			for _, e := range v {
				if m, ok := e.(map[string]any); ok {
					retell(m, was, is)
				}
			}
		case int64:
			if k != "generation" && k != "observedGeneration" {
				continue
			}
			if v == was {
				status[k] = is
			} else {
				status[k] = int64(0)
			}
		}
	}
}
