package deploy

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/notice"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// device brings the ledger's facts of a device, and which applications select it, in line with its object.
func (f *Function) device(ctx context.Context, who event.Device) error {
	for range conflictAttempts {
		d, err := f.d.Client.Devices.Get(ctx, who.Namespace, who.Name)
		if errs.Is(err, errs.NotFound) {
			return f.d.Ledger.DeleteDevice(ctx, who)
		}
		if err != nil {
			return err
		}
		i := slices.Index(d.Finalizers, v1alpha1.FinalizerDeploy)
		switch {
		case d.DeletionTimestamp != nil && i < 0:
			return nil
		case d.DeletionTimestamp != nil:
			if err := f.d.Ledger.DeleteDevice(ctx, who); err != nil {
				return err
			}
			d.Finalizers = slices.Delete(d.Finalizers, i, i+1)
			_, err = f.d.Client.Devices.UpdateMeta(ctx, d)
		case i < 0:
			d.Finalizers = append(d.Finalizers, v1alpha1.FinalizerDeploy)
			if d, err = f.d.Client.Devices.UpdateMeta(ctx, d); err == nil {
				return f.putDevice(ctx, d)
			}
		default:
			// Most changes of a Device are its status: the ledger has the facts already.
			view, err := f.d.Ledger.Device(ctx, who)
			if err != nil && !errs.Is(err, errs.NotFound) {
				return err
			}
			if err == nil && sameFacts(view, facts(d)) {
				return nil
			}
			return f.putDevice(ctx, d)
		}
		if !errs.Is(err, errs.Conflict) {
			return ignoreNotFound(err)
		}
	}
	return errs.New(errs.Conflict, "device %s changes too fast", who)
}

func facts(d *v1alpha1.Device) ledger.DeviceFacts {
	return ledger.DeviceFacts{Board: d.Spec.Board, Labels: d.Labels, Hold: d.Spec.Hold, Approved: d.Spec.Approval == v1alpha1.ApprovalApproved, UID: string(d.UID)}
}

func sameFacts(v ledger.DeviceView, want ledger.DeviceFacts) bool {
	return v.Known && v.UID == want.UID && v.Board == want.Board && v.Hold == want.Hold && v.Approved == want.Approved && maps.Equal(v.Labels, want.Labels)
}

// putDevice tells the ledger, which works out by itself who selects the device. It is told of the
// applications for the time in which it does not know them again: after it was lost.
func (f *Function) putDevice(ctx context.Context, d *v1alpha1.Device) error {
	sels, err := f.selections.get(ctx, d.Namespace)
	if err != nil {
		return err
	}
	err = f.d.Ledger.PutDevice(ctx, event.Device{Namespace: d.Namespace, Name: d.Name}, facts(d), selecting(sels, d))
	if errs.Is(err, errs.Invalid) || errs.Is(err, errs.TooLarge) {
		// Only a change of the object helps, and then its event comes.
		if nerr := f.notice.Warning(ctx, notice.About{Kind: v1alpha1.KindDevice, Namespace: d.Namespace, Name: d.Name, UID: d.UID}, "NotTargetable", err.Error()); nerr != nil {
			f.d.Log.Info("notice not written", "device", d.Namespace+"/"+d.Name, "err", nerr)
		}
		return nil
	}
	return err
}

// appSelection is what is needed of an application to know whether it selects a device.
type appSelection struct {
	app     ledger.App
	matches func(name string, labels map[string]string) bool
}

func selecting(sels []appSelection, d *v1alpha1.Device) []ledger.App {
	var out []ledger.App
	for _, s := range sels {
		if s.matches(d.Name, d.Labels) {
			out = append(out, s.app)
		}
	}
	return out
}

// listSelections lists the applications of a namespace, by name. Those that are being deleted select
// nothing.
func (f *Function) listSelections(ctx context.Context, namespace string) ([]appSelection, error) {
	var out []appSelection
	err := f.eachApplication(ctx, namespace, func(a *v1alpha1.Application) error {
		if a.DeletionTimestamp == nil {
			out = append(out, appSelection{ledger.App{Namespace: a.Namespace, Name: a.Name}, matcher(a.Spec.Targets)})
		}
		return nil
	})
	return out, err
}

// eachApplication goes through the applications of a namespace ("": all), in small pages: each may carry
// half a megabyte.
func (f *Function) eachApplication(ctx context.Context, namespace string, fn func(*v1alpha1.Application) error) error {
	o := client.ListOptions{Limit: applicationPage}
	for {
		apps, next, err := f.d.Client.Applications.List(ctx, namespace, o)
		if err != nil {
			return err
		}
		for i := range apps {
			if err := fn(&apps[i]); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		o.Continue = next
	}
}

// selections shares lists of applications between devices that come at the same time: a fleet that enrolls
// would list them for every device. What it returns is at most selectionAge old.
type selections struct {
	list func(ctx context.Context, namespace string) ([]appSelection, error)

	mu sync.Mutex
	ns map[string]*listing
}

type listing struct {
	done chan struct{} // closed when the rest is set
	at   time.Time     // when the list was begun
	sels []appSelection
	err  error
}

func (s *selections) get(ctx context.Context, namespace string) ([]appSelection, error) {
	s.mu.Lock()
	if s.ns == nil || len(s.ns) > maxNamespaces {
		s.ns = map[string]*listing{}
	}
	l := s.ns[namespace]
	if l == nil || time.Since(l.at) > selectionAge {
		l = &listing{done: make(chan struct{}), at: time.Now()}
		s.ns[namespace] = l
		go func() {
			// Not the context of the first who asks: others wait for the same list.
			lctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), selectionTimeout)
			defer cancel()
			l.sels, l.err = s.list(lctx, namespace)
			close(l.done)
			if l.err != nil {
				s.mu.Lock()
				defer s.mu.Unlock()
				if s.ns[namespace] == l {
					delete(s.ns, namespace)
				}
			}
		}()
	}
	s.mu.Unlock()
	select {
	case <-l.done:
		return l.sels, l.err
	case <-ctx.Done():
		return nil, errs.New(errs.CodeOf(ctx.Err()), "listing the applications of %s: %w", namespace, ctx.Err())
	}
}
