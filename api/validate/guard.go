package validate

import (
	"context"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
)

type listenerKey struct{}

// Listen returns a context whose guarded writes tell fn their warnings, one line each.
func Listen(ctx context.Context, fn func(warning string)) context.Context {
	return context.WithValue(ctx, listenerKey{}, fn)
}

// Guarded returns a client that checks an object before it is created or updated, and refuses it with errs.Invalid. It is
// for a door that people come in by where no admission webhook may stand behind it. Status writes are not checked.
func Guarded(set *client.Set, v *Validator) *client.Set {
	out := *set
	out.Devices = guarded[v1alpha1.Device, *v1alpha1.Device]{set.Devices, v.Device}
	out.Applications = guarded[v1alpha1.Application, *v1alpha1.Application]{set.Applications, v.Application}
	out.Modules = guarded[v1alpha1.Module, *v1alpha1.Module]{set.Modules, v.Module}
	out.Gateways = guarded[v1alpha1.Gateway, *v1alpha1.Gateway]{set.Gateways, v.Gateway}
	out.Webhooks = guarded[v1alpha1.Webhook, *v1alpha1.Webhook]{set.Webhooks, v.Webhook}
	out.HookSources = guarded[v1alpha1.WebhookSource, *v1alpha1.WebhookSource]{set.HookSources, v.WebhookSource}
	return &out
}

type guarded[T any, PT interface {
	*T
	GetNamespace() string
	GetName() string
}] struct {
	client.Resource[T]
	check func(ctx context.Context, old, o *T) Findings
}

// Create implements client.Resource.
func (g guarded[T, PT]) Create(ctx context.Context, o *T) (*T, error) {
	if err := tell(ctx, g.check(ctx, nil, o)); err != nil {
		return nil, err
	}
	return g.Resource.Create(ctx, o)
}

// Update implements client.Resource. What it is compared with may be newer than what the caller read; then the update is a
// Conflict anyway.
func (g guarded[T, PT]) Update(ctx context.Context, o *T) (*T, error) {
	old, err := g.Resource.Get(ctx, PT(o).GetNamespace(), PT(o).GetName())
	if err != nil {
		return nil, err
	}
	if err := tell(ctx, g.check(ctx, old, o)); err != nil {
		return nil, err
	}
	return g.Resource.Update(ctx, o)
}

func tell(ctx context.Context, fs Findings) error {
	if fn, ok := ctx.Value(listenerKey{}).(func(string)); ok {
		for _, w := range fs.Warnings() {
			fn(w)
		}
	}
	return fs.Err()
}
