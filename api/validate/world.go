package validate

import (
	"context"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
)

// Client is a World that asks the API server at the time of the question. Nothing is kept: a Module that was applied a
// moment before the Application is there, and a fleet's status writes cost nothing here.
type Client struct{ Set *client.Set }

// Module implements World.
func (c Client) Module(ctx context.Context, namespace, name string) (*v1alpha1.Module, error) {
	return c.Set.Modules.Get(ctx, namespace, name)
}

// Device implements World.
func (c Client) Device(ctx context.Context, namespace, name string) (*v1alpha1.Device, error) {
	return c.Set.Devices.Get(ctx, namespace, name)
}

// Application implements World.
func (c Client) Application(ctx context.Context, namespace, name string) (*v1alpha1.Application, error) {
	return c.Set.Applications.Get(ctx, namespace, name)
}

// Revision implements World.
func (c Client) Revision(ctx context.Context, namespace, name string) (*v1alpha1.Revision, error) {
	return c.Set.Revisions.Get(ctx, namespace, name)
}

// Devices implements World.
func (c Client) Devices(ctx context.Context, namespace, selector string, n int) ([]v1alpha1.Device, bool, error) {
	items, next, err := c.Set.Devices.List(ctx, namespace, client.ListOptions{Labels: selector, Limit: int64(n)})
	return items, next != "", err
}

// Applications implements World. Applications may carry a module each, so they come in small pages.
func (c Client) Applications(ctx context.Context, namespace string, n int) ([]v1alpha1.Application, error) {
	o := client.ListOptions{Limit: 25}
	var out []v1alpha1.Application
	for {
		items, next, err := c.Set.Applications.List(ctx, namespace, o)
		if err != nil {
			return nil, err
		}
		for i := range items {
			items[i].Spec.Module.Inline = nil
		}
		if out = append(out, items...); next == "" || len(out) >= n {
			return out, nil
		}
		o.Continue = next
	}
}

// Gateway implements World.
func (c Client) Gateway(ctx context.Context, namespace, name string) error {
	_, err := c.Set.Gateways.Get(ctx, namespace, name)
	return err
}

// Secret implements World.
func (c Client) Secret(ctx context.Context, namespace, name string) error {
	_, err := c.Set.Secrets.Get(ctx, namespace, name)
	return err
}
