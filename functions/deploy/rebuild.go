package deploy

import (
	"context"
	"hash/fnv"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"golang.org/x/sync/errgroup"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

const (
	// extContinue carries the page of devices with which a rebuild goes on.
	extContinue = "listcontinue"
	// byContinues is in Lost.By of such an event: for this function alone.
	byContinues = "deploy continues"
	// rebuiltSource and an era name the note that the rebuild of that era is done.
	rebuiltSource = Name + " rebuilt"
)

// rebuild tells a ledger that was lost everything again: all devices, then all applications. A large fleet
// takes several events, each with the page to go on with, so that memory and time of one stay bounded.
func (f *Function) rebuild(ctx context.Context, e ce.Event) error {
	lost, err := event.Data[event.Lost](e)
	if err != nil {
		return err
	}
	era, created, err := f.d.Ledger.Era(ctx)
	if err != nil {
		return err
	}
	if created {
		return f.postLost(ctx, era, Name, "")
	}
	if lost.Era != era {
		return nil // of a ledger that was lost again since; that has its own event
	}
	_, done, err := f.d.Ledger.Once(ctx, rebuiltSource, era)
	if err != nil || done != "" {
		return err
	}
	began := time.Now()
	o := client.ListOptions{Limit: devicePage, Continue: event.Extension(e, extContinue)}
	for {
		devices, next, err := f.d.Client.Devices.List(ctx, "", o)
		if errs.Is(err, errs.Conflict) && o.Continue != "" { // the list is too old: from the start
			o.Continue = ""
			continue
		}
		if err != nil {
			return err
		}
		if err := f.putDevices(ctx, devices); err != nil {
			return err
		}
		if o.Continue = next; next == "" {
			break
		}
		if time.Since(began) >= f.share {
			return f.postLost(ctx, era, byContinues, next)
		}
	}
	var keys []ledger.App
	err = f.eachApplication(ctx, "", func(a *v1alpha1.Application) error {
		keys = append(keys, ledger.App{Namespace: a.Namespace, Name: a.Name})
		return nil
	})
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(applicationParallel)
	for _, key := range keys {
		g.Go(func() error { return f.application(gctx, e, key, onDoubt) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return f.d.Ledger.SetOnce(ctx, rebuiltSource, era, "done")
}

func (f *Function) putDevices(ctx context.Context, devices []v1alpha1.Device) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(deviceParallel)
	for i := range devices {
		d := &devices[i]
		if d.DeletionTimestamp != nil {
			continue
		}
		g.Go(func() error {
			if err := f.putDevice(ctx, d); err != nil {
				return err
			}
			// Those that are away show Unknown from now on; not all in the same second.
			h := fnv.New32a()
			h.Write([]byte(d.Name))
			at := f.d.Now().Add(time.Duration(h.Sum32()) % statusSpread)
			return f.d.Ledger.MarkDue(ctx, event.Timer{Kind: timerStatus, Namespace: d.Namespace, Name: d.Name, Due: at})
		})
	}
	return g.Wait()
}

// postLost says that the ledger has a new era, or (page) that its rebuild goes on.
func (f *Function) postLost(ctx context.Context, era, by, page string) error {
	opts := []event.Option{event.At(f.d.Now())}
	if page != "" {
		opts = append(opts, event.Ext(extContinue, page))
	}
	out, err := event.New(event.LedgerLost, source, era, event.DeriveID(era, by, page), event.Lost{Era: era, By: by}, opts...)
	if err != nil {
		return err
	}
	return f.post(ctx, out)
}

// checkEra sees a lost ledger, when this function is the first to.
func (f *Function) checkEra(ctx context.Context) error {
	era, created, err := f.d.Ledger.Era(ctx)
	if err != nil || !created {
		return err
	}
	return f.postLost(ctx, era, Name, "")
}

// rebuilt reports whether the ledger knows all of a namespace's devices. The note of that is kept for a day
// only; after it, the devices are counted.
func (f *Function) rebuilt(ctx context.Context, namespace string) (bool, error) {
	era, _, err := f.d.Ledger.Era(ctx)
	if err != nil {
		return false, err
	}
	_, done, err := f.d.Ledger.Once(ctx, rebuiltSource, era)
	if err != nil || done != "" {
		return done != "", err
	}
	known, err := f.d.Ledger.DevicesKnown(ctx, namespace)
	if err != nil {
		return false, err
	}
	n := 0
	err = client.All(ctx, f.d.Client.Devices, namespace, "", func(d *v1alpha1.Device) error {
		if d.DeletionTimestamp == nil {
			n++
		}
		return nil
	})
	return err == nil && known >= n, err
}
