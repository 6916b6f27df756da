package webhook

import (
	"context"
	"crypto/x509"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/hook"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// space is what is remembered of a namespace.
type space struct {
	mu    sync.Mutex // one list at a time
	hooks []v1alpha1.Webhook
	at    time.Time
}

type secretEntry struct {
	keys  hook.Keys
	roots *x509.CertPool
	err   error
	at    time.Time
}

// hooks returns the webhooks of a namespace, as of the last two seconds; older while Kubernetes is away.
func (f *Function) hooks(ctx context.Context, ns string) ([]v1alpha1.Webhook, error) {
	f.mu.Lock()
	s := f.spaces[ns]
	if s == nil {
		if len(f.spaces) >= maxNamespaces {
			clear(f.spaces)
		}
		s = &space{}
		f.spaces[ns] = s
	}
	f.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := f.d.Now()
	if !s.at.IsZero() && now.Sub(s.at) < cacheTTL {
		return s.hooks, nil
	}
	var hooks []v1alpha1.Webhook
	err := client.All(ctx, f.d.Client.Webhooks, ns, "", func(w *v1alpha1.Webhook) error {
		w.Default()
		hooks = append(hooks, *w)
		return nil
	})
	if err != nil {
		if !s.at.IsZero() && now.Sub(s.at) < staleTTL {
			return s.hooks, nil
		}
		return nil, err
	}
	if len(hooks) > maxHooks {
		slices.SortFunc(hooks, func(a, b v1alpha1.Webhook) int { return strings.Compare(a.Name, b.Name) })
		f.d.Log.Warn("a namespace has more webhooks than are served", "namespace", ns, "webhooks", len(hooks), "served", maxHooks)
		hooks = hooks[:maxHooks]
	}
	s.hooks, s.at = hooks, now
	return hooks, nil
}

// keysOf reads a webhook's Secret, as of the last few seconds.
func (f *Function) keysOf(ctx context.Context, w *v1alpha1.Webhook) (hook.Keys, error) {
	id := w.Namespace + "/" + w.Spec.SecretRef.Name
	now := f.d.Now()
	f.mu.Lock()
	c, ok := f.secrets[id]
	f.mu.Unlock()
	if ok && now.Sub(c.at) < secretTTL {
		return c.keys, c.err
	}
	c = secretEntry{at: now}
	s, err := f.d.Client.Secrets.Get(ctx, w.Namespace, w.Spec.SecretRef.Name)
	if err = f.secretError(err, w.Namespace, w.Spec.SecretRef.Name, &c); err != nil {
		return hook.Keys{}, err
	}
	if c.err == nil {
		c.keys, c.err = hook.ReadKeys(s)
	}
	f.keep(id, c)
	return c.keys, c.err
}

// rootsOf reads the authorities that a receiver's certificate is signed by, as of the last few seconds.
func (f *Function) rootsOf(ctx context.Context, ns, name string) (*x509.CertPool, error) {
	id := "ca " + ns + "/" + name
	now := f.d.Now()
	f.mu.Lock()
	c, ok := f.secrets[id]
	f.mu.Unlock()
	if ok && now.Sub(c.at) < secretTTL {
		return c.roots, c.err
	}
	c = secretEntry{at: now}
	s, err := f.d.Client.Secrets.Get(ctx, ns, name)
	if err = f.secretError(err, ns, name, &c); err != nil {
		return nil, err
	}
	if c.err == nil {
		c.roots, c.err = hook.ReadCA(s)
	}
	f.keep(id, c)
	return c.roots, c.err
}

// secretError notes in c what is to be remembered of a failed read, and returns what is not.
func (f *Function) secretError(err error, ns, name string, c *secretEntry) error {
	switch {
	case errs.Is(err, errs.NotFound):
		c.err = errs.New(errs.NotFound, "there is no Secret %s in namespace %s", name, ns)
	case errs.Is(err, errs.Denied):
		c.err = errs.New(errs.Denied, "the function webhook may not read Secrets of namespace %s", ns).
			WithMend("kubectl create rolebinding wasmbed-webhook-secrets -n %s --clusterrole=wasmbed-webhook-secrets --serviceaccount=wasmbed-system:wasmbed-webhook --serviceaccount=wasmbed-system:wasmbed-api", ns)
	default:
		return err
	}
	return nil
}

func (f *Function) keep(id string, c secretEntry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.secrets) >= maxNamespaces {
		clear(f.secrets)
	}
	f.secrets[id] = c
}

// hook returns one webhook: the remembered one when its status was written for that generation, else read anew. Errors:
// NotFound.
func (f *Function) hook(ctx context.Context, h ledger.Hook, generation int64) (*v1alpha1.Webhook, error) {
	if generation != 0 {
		hooks, err := f.hooks(ctx, h.Namespace)
		if err != nil {
			return nil, err
		}
		for i := range hooks {
			if hooks[i].Name == h.Name && hooks[i].Generation == generation {
				return hooks[i].DeepCopy(), nil
			}
		}
	}
	w, err := f.d.Client.Webhooks.Get(ctx, h.Namespace, h.Name)
	if err != nil {
		return nil, err
	}
	w.Default()
	return w, nil
}

// forget has the webhooks of a namespace listed anew.
func (f *Function) forget(ns string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.spaces, ns)
}

// disabled reports whether a webhook was switched off for its receiver's sake: until its spec changes.
func disabled(w *v1alpha1.Webhook) bool {
	c := meta.FindStatusCondition(w.Status.Conditions, v1alpha1.ConditionDisabled)
	return c != nil && c.Status == "True" && c.ObservedGeneration == w.Generation
}
