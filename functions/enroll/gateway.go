package enroll

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// States of a gateway process.
const (
	stateUp       = "Up"
	stateDown     = "Down"
	stateDisabled = "Disabled"
)

// gateway puts a Gateway's settings into the ledger, and the trust anchors of its namespace, and writes its
// status.
func (f *Function) gateway(ctx context.Context, namespace, name string) error {
	for range conflictAttempts {
		g, err := f.d.Client.Gateways.Get(ctx, namespace, name)
		if errs.Is(err, errs.NotFound) {
			return f.d.Ledger.DeleteGateway(ctx, namespace, name)
		}
		if err != nil {
			return err
		}
		if err = f.tryGateway(ctx, g, nil); err == nil {
			return f.server(ctx, g)
		}
		if !errs.Is(err, errs.Conflict) {
			return ignoreNotFound(err)
		}
	}
	return errs.New(errs.Conflict, "gateway %s/%s changes too fast", namespace, name)
}

// instance takes word of a gateway process. A process whose Gateway object does not exist says so itself;
// there is no status to write it into.
func (f *Function) instance(ctx context.Context, said event.GatewayInstance) error {
	for range conflictAttempts {
		g, err := f.d.Client.Gateways.Get(ctx, said.Namespace, said.Gateway)
		if errs.Is(err, errs.NotFound) {
			f.d.Log.Warn("a gateway process serves a Gateway object that does not exist", "gateway", said.Namespace+"/"+said.Gateway, "instance", said.Instance)
			return nil
		}
		if err != nil {
			return err
		}
		if err = f.tryGateway(ctx, g, &said); !errs.Is(err, errs.Conflict) {
			return ignoreNotFound(err)
		}
	}
	return errs.New(errs.Conflict, "gateway %s/%s changes too fast", said.Namespace, said.Gateway)
}

func (f *Function) tryGateway(ctx context.Context, g *v1alpha1.Gateway, said *event.GatewayInstance) error {
	if g.DeletionTimestamp != nil {
		if err := f.d.Ledger.DeleteGateway(ctx, g.Namespace, g.Name); err != nil {
			return err
		}
		i := slices.Index(g.Finalizers, v1alpha1.FinalizerEnroll)
		if i < 0 {
			return nil
		}
		g.Finalizers = slices.Delete(g.Finalizers, i, i+1)
		_, err := f.d.Client.Gateways.UpdateMeta(ctx, g)
		return err
	}
	if !slices.Contains(g.Finalizers, v1alpha1.FinalizerEnroll) {
		g.Finalizers = append(g.Finalizers, v1alpha1.FinalizerEnroll)
		var err error
		if g, err = f.d.Client.Gateways.UpdateMeta(ctx, g); err != nil {
			return err
		}
	}
	// Both writes wake every gateway, so they are made only when they change something.
	want := settings(g)
	if have, err := f.d.Ledger.Gateway(ctx, g.Namespace, g.Name); err != nil && !errs.Is(err, errs.NotFound) {
		return err
	} else if err != nil || !sameSettings(have, want) {
		if err := f.d.Ledger.PutGateway(ctx, want); err != nil {
			return err
		}
	}
	trustErr := f.putTrust(ctx, g.Namespace)
	if errs.Is(trustErr, errs.Unavailable) {
		// No authority yet: the Gateway's status says so, and the event comes again.
		f.d.Log.Warn("no device authority", "err", trustErr)
	} else if trustErr != nil {
		return trustErr
	}
	if err := f.gatewayStatus(ctx, g, said, trustErr); err != nil {
		return err
	}
	return trustErr
}

func (f *Function) putTrust(ctx context.Context, namespace string) error {
	ca, err := f.ca.get(ctx, f.d.Now())
	if err != nil {
		return err
	}
	have, err := f.d.Ledger.Trust(ctx, namespace)
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	if bytes.Equal(have, ca.PEM()) {
		return nil
	}
	return f.d.Ledger.PutTrust(ctx, namespace, ca.PEM())
}

func settings(g *v1alpha1.Gateway) ledger.GatewaySettings {
	s := ledger.GatewaySettings{
		Namespace: g.Namespace, Name: g.Name, Address: g.Spec.Address, Heartbeat: v1alpha1.DefaultHeartbeat,
		PairingApproval: g.Spec.Pairing.Approval, MaxDevices: int(g.Spec.Limits.MaxDevices), MaxFrame: int(g.Spec.Limits.MaxFrame),
		PreAuthPerAddress: int(g.Spec.Limits.PreAuthPerAddress), CertificateLife: v1alpha1.DefaultCertificateLife, AttestationMode: g.Spec.Attestation.Mode,
		Disabled: g.Spec.Disabled,
	}
	if h := g.Spec.Heartbeat; h != nil && h.Duration > 0 {
		s.Heartbeat = h.Duration
	}
	if u := g.Spec.Pairing.Until; u != nil {
		s.PairingUntil = u.UTC()
	}
	if l := g.Spec.Certificate.Life; l != nil && l.Duration > 0 {
		s.CertificateLife = l.Duration
	}
	return s
}

func sameSettings(a, b ledger.GatewaySettings) bool {
	if !a.PairingUntil.Equal(b.PairingUntil) {
		return false
	}
	a.PairingUntil, b.PairingUntil = time.Time{}, time.Time{}
	return a == b
}

// gatewayStatus writes the instances that the registry knows, corrected by what one said of itself: the
// registry forgets a process only after its lease.
func (f *Function) gatewayStatus(ctx context.Context, g *v1alpha1.Gateway, said *event.GatewayInstance, trustErr error) error {
	all, err := f.d.Instances.Instances(ctx)
	if err != nil {
		return err
	}
	old := g.Status.DeepCopy()
	s := &g.Status
	s.Instances, s.Devices = nil, 0
	up, draining, off := 0, 0, 0
	for _, i := range all {
		if i.Namespace != g.Namespace || i.Gateway != g.Name {
			continue
		}
		if said != nil && i.ID == said.Instance && said.State == stateDown {
			continue
		}
		s.Instances = append(s.Instances, v1alpha1.GatewayInstance{ID: i.ID, State: i.State, Devices: int32(i.Devices)})
		s.Devices += int32(i.Devices)
		switch i.State {
		case stateUp:
			up++
		case stateDisabled:
			off++
		default:
			draining++
		}
	}
	slices.SortFunc(s.Instances, func(a, b v1alpha1.GatewayInstance) int { return cmp.Compare(a.ID, b.ID) })
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, ObservedGeneration: g.Generation, LastTransitionTime: metav1.NewTime(f.d.Now())}
	switch {
	case trustErr != nil:
		c.Reason, c.Message = "NoAuthority", trustErr.Error()
	case g.Spec.Disabled:
		c.Reason, c.Message = "Disabled", "it is switched off; "+count(int(s.Devices), "device has", "devices have")+" a session yet"
	case up+off > 0: // off: switched on again, and its processes have not all heard of it
		up += off
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, "InstanceUp", count(up, "gateway process serves", "gateway processes serve")+" "+g.Spec.Address
	case draining > 0:
		c.Reason, c.Message = "Draining", count(draining, "gateway process drains", "gateway processes drain")+", none is up"
	default:
		c.Reason, c.Message = "NoInstance", "no gateway process serves this Gateway"
	}
	meta.SetStatusCondition(&s.Conditions, c)
	s.ObservedGeneration = g.Generation
	if equality.Semantic.DeepEqual(old, s) {
		return nil
	}
	_, err = f.d.Client.Gateways.UpdateStatus(ctx, g)
	return err
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// rebuild puts settings, trust anchors and the deny-list back after the ledger was lost. Devices and
// applications are deploy's.
func (f *Function) rebuild(ctx context.Context, e ce.Event) error {
	lost, err := event.Data[event.Lost](e)
	if err != nil {
		return err
	}
	if lost.By == deployContinues {
		return nil // a page of deploy's own list
	}
	err = client.All(ctx, f.d.Client.Gateways, "", "", func(g *v1alpha1.Gateway) error { return f.gateway(ctx, g.Namespace, g.Name) })
	if err != nil {
		return err
	}
	deny := func(ns, fp, reason string) error { return f.d.Ledger.Deny(ctx, ns, fp, reason) }
	err = client.All(ctx, f.d.Client.Devices, "", "", func(d *v1alpha1.Device) error {
		if c := condition(d, f.d.Now()); out(c.Reason) && keyOf(d) != "" {
			return deny(d.Namespace, keyOf(d), c.Reason)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return f.allRevoked(ctx, func(entry string, k revokedKey) error {
		ns, fp, _ := strings.Cut(entry, ".")
		return deny(ns, fp, k.Reason)
	})
}

// deployContinues is in Lost.By of the events with which deploy goes on with its list.
const deployContinues = "deploy continues"
