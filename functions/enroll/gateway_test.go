package enroll

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

func TestGatewayStatus(t *testing.T) {
	b := start(t)
	b.redo = true
	ready := func(status, reason string) *v1alpha1.Gateway {
		t.Helper()
		g, err := b.set.Gateways.Get(t.Context(), ns, "main")
		if err != nil {
			t.Fatal(err)
		}
		c := meta.FindStatusCondition(g.Status.Conditions, "Ready")
		if c == nil || string(c.Status) != status || c.Reason != reason || c.ObservedGeneration != g.Generation {
			t.Fatalf("Ready is %+v, want %s %s", c, status, reason)
		}
		return g
	}
	say := func(instance, state string) {
		t.Helper()
		b.handle(b.event(event.GatewayChanged, "gw", event.GatewayInstance{Namespace: ns, Gateway: "main", Instance: instance, State: state}))
	}
	b.gateway(nil)
	ready("False", "NoInstance")
	b.up = instances{{ID: "gw-2", Namespace: ns, Gateway: "main", State: "Up", Devices: 3}, {ID: "gw-1", Namespace: ns, Gateway: "main", State: "Draining", Devices: 2}, {ID: "x", Namespace: "other", Gateway: "main", State: "Up"}}
	say("gw-2", "Up")
	g := ready("True", "InstanceUp")
	if g.Status.Devices != 5 || len(g.Status.Instances) != 2 || g.Status.Instances[0].ID != "gw-1" {
		t.Errorf("%+v", g.Status)
	}
	say("gw-2", "Down") // says it itself, before the registry forgets it
	ready("False", "Draining")
	rv := func() string { g, _ := b.set.Gateways.Get(t.Context(), ns, "main"); return g.ResourceVersion }
	was := rv()
	say("gw-2", "Down")
	if rv() != was {
		t.Error("a status was written that did not differ")
	}
	g, _ = b.set.Gateways.Get(t.Context(), ns, "main")
	g.Spec.Disabled = true
	if _, err := b.set.Gateways.Update(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	b.up = instances{{ID: "gw-2", Namespace: ns, Gateway: "main", State: "Disabled"}}
	b.changed("Gateway", "main")
	ready("False", "Disabled")
	if s, err := b.l.Gateway(t.Context(), ns, "main"); err != nil || !s.Disabled {
		t.Errorf("%+v %v", s, err)
	}
	g, _ = b.set.Gateways.Get(t.Context(), ns, "main")
	g.Spec.Disabled = false
	if _, err := b.set.Gateways.Update(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	b.changed("Gateway", "main")
	ready("True", "InstanceUp")
	say("gw-9", "Up")
	b.handle(b.event(event.GatewayChanged, "gw", event.GatewayInstance{Namespace: ns, Gateway: "nowhere", Instance: "gw-5", State: "Up"}))

	g, _ = b.set.Gateways.Get(t.Context(), ns, "main")
	g.Spec.Heartbeat = &metav1.Duration{Duration: 3 * time.Second}
	if _, err := b.set.Gateways.Update(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	b.changed("Gateway", "main")
	if s, err := b.l.Gateway(t.Context(), ns, "main"); err != nil || s.Heartbeat != 3*time.Second || s.MaxDevices != v1alpha1.DefaultMaxDevices {
		t.Errorf("%+v %v", s, err)
	}
	if err := b.set.Gateways.Delete(t.Context(), ns, "main"); err != nil {
		t.Fatal(err)
	}
	b.changed("Gateway", "main")
	if _, err := b.l.Gateway(t.Context(), ns, "main"); !errs.Is(err, errs.NotFound) {
		t.Errorf("settings of a deleted gateway: %v", err)
	}
	if _, err := b.set.Gateways.Get(t.Context(), ns, "main"); !errs.Is(err, errs.NotFound) {
		t.Error("the Gateway is held back")
	}
}

func TestNoAuthority(t *testing.T) {
	b := start(t)
	if err := b.set.Secrets.Delete(t.Context(), CANamespace, CASecret); err != nil {
		t.Fatal(err)
	}
	until := metav1.NewTime(b.now.Add(time.Hour))
	_, err := b.set.Gateways.Create(t.Context(), &v1alpha1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "main"},
		Spec: v1alpha1.GatewaySpec{Address: "gw:8081", Pairing: v1alpha1.Pairing{Until: &until, Approval: v1alpha1.PairingAutomatic}}})
	if err != nil {
		t.Fatal(err)
	}
	e := b.event(event.RefAdd, "k", event.ObjectReference{Kind: "Gateway", Namespace: ns, Name: "main"})
	if _, err := b.f.Handle(t.Context(), e); !errs.Is(err, errs.Unavailable) {
		t.Errorf("%v", err)
	}
	g, _ := b.set.Gateways.Get(t.Context(), ns, "main")
	if c := meta.FindStatusCondition(g.Status.Conditions, "Ready"); c == nil || c.Reason != "NoAuthority" || !strings.Contains(c.Message, CASecret) {
		t.Errorf("%+v", c)
	}
	k := newKey(t)
	q := b.event(event.DeviceEnrollmentRequested, "gw", b.request(k, nil))
	if _, err := b.f.Handle(t.Context(), q); !errs.Is(err, errs.Unavailable) {
		t.Errorf("%v", err)
	}
	// It is installed, and the same events do it.
	if _, _, err := EnsureAuthority(t.Context(), b.set.Secrets, "wasmbed.local", b.now); err != nil {
		t.Fatal(err)
	}
	b.handle(e)
	if reply := b.handle(q); reply == nil || reply.Type() != event.DeviceEnrolled {
		t.Errorf("%v", reply)
	}
}

func TestParseAuthorityRefuses(t *testing.T) {
	now := time.Now()
	crt, key, err := NewAuthority("wasmbed.local", now)
	if err != nil {
		t.Fatal(err)
	}
	_, key2, err := NewAuthority("wasmbed.local", now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseAuthority(crt, key); err != nil {
		t.Error(err)
	}
	for name, x := range map[string][2][]byte{"nothing": {nil, nil}, "no key": {crt, nil}, "another key": {crt, key2}, "swapped": {key, crt}} {
		if _, err := ParseAuthority(x[0], x[1]); !errs.Is(err, errs.Unavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	a, err := ParseAuthority(crt, key)
	if err != nil {
		t.Fatal(err)
	}
	k := newKey(t)
	c, err := a.Issue("wasmbed.local", ns, "d", k.Public(), now, 100*365*24*time.Hour)
	if err != nil || c.NotAfter.After(now.Add(maxLife)) {
		t.Errorf("life %v, %v", c.NotAfter.Sub(now), err)
	}
	if c, err = a.Issue("wasmbed.local", ns, "d", k.Public(), now.Add(caLife-time.Hour), time.Hour*24); err != nil || c.NotAfter.After(now.Add(caLife)) {
		t.Errorf("outlives the authority: %v %v", c.NotAfter, err)
	}
	if _, err = a.Issue("wasmbed.local", ns, "d", k.Public(), now.Add(caLife+time.Hour), time.Hour); !errs.Is(err, errs.Unavailable) {
		t.Errorf("an authority that has ended: %v", err)
	}
}
