package scenario

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/ledger"
)

// door is one way to the platform. Each method is a whole step of the scenario as its users take it.
type door interface {
	name() string // also of all that is made through it
	create(device string)
	approve(devices ...string)
	deploy(app string, spec map[string]any)
	update(app string, spec map[string]any, module string)
	pause(app string, to bool)
	rollback(app string)
	hold(device string, to bool)
	stop(app string, spec map[string]any)
	remove(device string)
}

// TestDoors takes one scenario through every door of one platform, and after each step compares what came of it in
// Kubernetes and in the ledger: it is the same, but for names and times.
func TestDoors(t *testing.T) {
	p := boot(t)
	doors := []door{&viaCLI{p}, newCurl(p), newKubectl(p), &viaEvent{p: p}}
	if _, stderr, code := p.cli("pairing", "open", "--for", "1h", "--approval", "manual"); code != 0 {
		t.Fatalf("pairing: %d %s", code, stderr)
	}
	var v2 struct{ Name string }
	out, stderr, code := p.cli("modules", "add", "../../../firmware/modules/hello-v2.wasm", "-o", "json")
	if err := json.Unmarshal([]byte(out), &v2); code != 0 || err != nil {
		t.Fatalf("modules add: %d %v %s", code, err, stderr)
	}
	devices := map[string][]string{}
	for _, d := range doors {
		p.devices(d.name(), 2, p.at.Address)
		devices[d.name()] = names(d.name(), 2)
	}
	app := func(d door) string { return d.name() + "-app" }
	specs := map[string]map[string]any{}
	for _, d := range doors {
		specs[d.name()] = map[string]any{
			"module":  map[string]any{"inline": base64.StdEncoding.EncodeToString(module(t, "hello.wasm"))},
			"targets": map[string]any{"names": devices[d.name()]},
			"manifest": map[string]any{
				"permissions": []string{"log", "clock", "telemetry"}, "health": map[string]any{"window": "1s"},
				"timers": []any{map[string]any{"id": 1, "period": "300ms"}},
			},
			"rollout": map[string]any{"maxUnavailable": "100%"},
		}
	}
	// same waits until what each door made is as it must be, and as what all others made.
	same := func(step string, only func(door) bool, is func(d door) error) {
		t.Helper()
		p.until(step+": the same through every door", func() error {
			var first, firstName string
			for _, d := range doors {
				if only != nil && !only(d) {
					continue
				}
				if err := is(d); err != nil {
					return fmt.Errorf("%s: %w", d.name(), err)
				}
				got, err := p.whole(d.name())
				if err != nil {
					return fmt.Errorf("%s: %w", d.name(), err)
				}
				if first == "" {
					first, firstName = got, d.name()
				}
				if got != first {
					return fmt.Errorf("%s and %s differ:\n%s", firstName, d.name(), difference(first, got))
				}
			}
			return nil
		})
	}
	each := func(do func(d door, app string)) {
		for _, d := range doors {
			do(d, app(d))
		}
	}
	rollout := func(to string, state v1alpha1.RolloutState, ready int) func(door) error {
		return func(d door) error {
			a, err := p.app(app(d))
			if err != nil {
				return err
			}
			ro := a.Status.Rollout
			if ro == nil || !strings.HasPrefix(ro.To, app(d)+to+"-") || ro.State != state || int(a.Status.Ready) != ready || a.Status.ObservedGeneration != a.Generation {
				return fmt.Errorf("rollout %+v, %d ready", ro, a.Status.Ready)
			}
			return nil
		}
	}
	running := func(d door, device int, state string) error {
		v, err := p.view(devices[d.name()][device])
		if err == nil && on(v, app(d)).State != state {
			err = fmt.Errorf("%s is %s, not %s", v.Device.Name, on(v, app(d)).State, state)
		}
		return err
	}

	// A device that does not exist is made by a person; at /events a device makes itself, at first contact.
	made := func(d door) bool { _, event := d.(*viaEvent); return !event }
	for _, d := range doors {
		if made(d) {
			d.create(d.name() + "-spare")
		}
	}
	same("create", made, func(d door) error {
		dev, err := p.kube.Devices.Get(p.ctx(), ns, d.name()+"-spare")
		if err == nil && (dev.Spec.Approval != v1alpha1.ApprovalApproved || condition(dev.Status.Conditions, "Enrolled").Reason == "") {
			err = fmt.Errorf("%s, %+v", dev.Spec.Approval, dev.Status.Conditions)
		}
		return err
	})
	for _, d := range doors {
		if made(d) {
			d.remove(d.name() + "-spare")
		}
	}

	pending := func(d door) error {
		for _, name := range devices[d.name()] {
			dev, err := p.kube.Devices.Get(p.ctx(), ns, name)
			if err != nil {
				return err
			}
			if dev.Spec.Approval != v1alpha1.ApprovalPending {
				return fmt.Errorf("%s is %s", name, dev.Spec.Approval)
			}
		}
		return nil
	}
	same("first contact", nil, pending)

	each(func(d door, _ string) { d.approve(devices[d.name()]...) })
	same("approve", nil, func(d door) error {
		for _, name := range devices[d.name()] {
			v, err := p.view(name)
			if err != nil || !v.Online || !v.Known {
				return fmt.Errorf("%s: online %v, %w", name, v.Online, err)
			}
		}
		return nil
	})

	each(func(d door, app string) { d.deploy(app, specs[d.name()]) })
	same("deploy", nil, rollout("-1", v1alpha1.RolloutComplete, 2))

	each(func(d door, app string) { d.pause(app, true) })
	each(func(d door, app string) { d.update(app, specs[d.name()], v2.Name) })
	same("an update while paused", nil, rollout("-2", v1alpha1.RolloutProgressing, 0))
	each(func(d door, app string) { d.pause(app, false) })
	same("resume", nil, rollout("-2", v1alpha1.RolloutComplete, 2))

	each(func(d door, app string) { d.rollback(app) })
	same("rollback", nil, rollout("-1", v1alpha1.RolloutComplete, 2))

	each(func(d door, _ string) { d.hold(devices[d.name()][0], true) })
	same("hold", nil, func(d door) error {
		dev, err := p.kube.Devices.Get(p.ctx(), ns, devices[d.name()][0])
		if err == nil && !dev.Spec.Hold {
			err = errors.New("it is not held")
		}
		return err
	})
	each(func(d door, app string) { d.stop(app, specs[d.name()]) })
	same("stop, one device held", nil, func(d door) error {
		return errors.Join(running(d, 0, "Running"), running(d, 1, "Stopped"))
	})
	each(func(d door, _ string) { d.hold(devices[d.name()][0], false) })
	same("release", nil, func(d door) error {
		return errors.Join(running(d, 0, "Stopped"), running(d, 1, "Stopped"))
	})

	each(func(d door, _ string) { d.remove(devices[d.name()][1]) })
	same("remove", made, func(d door) error {
		_, err := p.kube.Devices.Get(p.ctx(), ns, devices[d.name()][1])
		if err == nil {
			return errors.New("it is there")
		}
		a, err := p.app(app(d))
		if err == nil && a.Status.Desired != 1 {
			err = fmt.Errorf("%d desired", a.Status.Desired)
		}
		return err
	})
}

// volatile are the fields that differ between two runs of the same thing: times, names that somebody drew, and counters of
// how often something was looked at or said.
var volatile = map[string]bool{
	"uid": true, "resourceVersion": true, "creationTimestamp": true, "managedFields": true, "lastTransitionTime": true, "startedAt": true, "completedAt": true,
	"publicKey": true, "certificate": true, "lastSeen": true, "event": true, "since": true, "time": true, "at": true, "serial": true, "epoch": true, "era": true,
	"bootId": true, "bootID": true, "session": true, "instance": true, "uptime": true, "memory": true, "stateDigest": true, "notAfter": true, "ownerReferences": true, "remoteAddress": true,
	"connectedAt": true, "seenAt": true, "deadline": true, "wasmbed.io/key": true, "wasmbed.io/application-uid": true,
	// How many writes and reports led here is a matter of how they fell together.
	"version": true, "desiredVersion": true, "seenDesired": true, "seen": true,
}

// marks are annotations that say by which door, and when.
var marks = []string{"kubectl.kubernetes.io/last-applied-configuration", "wasmbed.io/deploy-requested-at", "wasmbed.io/state-requested-at", "wasmbed.io/paused-requested-at",
	"wasmbed.io/approval-requested-at", "wasmbed.io/hold-requested-at", "wasmbed.io/completed-at", "wasmbed.io/traceparent"}

// What messages say of who and when.
var (
	who  = regexp.MustCompile(`requested( by [^" ]*)?`)
	when = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
)

// whole is all that Kubernetes and the ledger hold of what a door made, without what volatile and marks name.
func (p *platform) whole(door string) (string, error) {
	out := map[string]any{}
	put := func(kind, name string, v any) error {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		var plain any
		if err := json.Unmarshal(b, &plain); err != nil {
			return err
		}
		out[kind+" "+name] = normal(plain)
		return nil
	}
	devices, _, err := p.kube.Devices.List(p.ctx(), ns, client0)
	if err != nil {
		return "", err
	}
	apps, _, err := p.kube.Applications.List(p.ctx(), ns, client0)
	if err != nil {
		return "", err
	}
	revisions, _, err := p.kube.Revisions.List(p.ctx(), ns, client.ListOptions{Labels: v1alpha1.LabelApplication + "=" + door + "-app"})
	if err != nil {
		return "", err
	}
	for _, d := range devices {
		if !strings.HasPrefix(d.Name, door+"-") {
			continue
		}
		if err := put("device", d.Name, d); err != nil {
			return "", err
		}
		v, err := p.view(d.Name)
		if err != nil {
			return "", err
		}
		if err := put("ledger", d.Name, v); err != nil {
			return "", err
		}
	}
	for _, a := range apps {
		if a.Name != door+"-app" {
			continue
		}
		if err := put("application", a.Name, a); err != nil {
			return "", err
		}
		counts, err := p.led.Counts(p.ctx(), ledger.App{Namespace: ns, Name: a.Name})
		if err != nil {
			return "", err
		}
		if err := put("counts", a.Name, counts); err != nil {
			return "", err
		}
	}
	for _, r := range revisions {
		if err := put("revision", r.Name, r); err != nil {
			return "", err
		}
	}
	b, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		return "", err
	}
	return when.ReplaceAllString(who.ReplaceAllString(strings.ReplaceAll(string(b), door, "DOOR"), "requested"), "TIME"), nil
}

func normal(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k := range x {
			if volatile[k] {
				delete(x, k)
			}
		}
		if notes, ok := x["annotations"].(map[string]any); ok {
			for _, m := range marks {
				delete(notes, m)
			}
			if len(notes) == 0 {
				delete(x, "annotations")
			}
		}
		for k := range x {
			x[k] = normal(x[k])
			if list, ok := x[k].([]any); ok && k == "conditions" {
				for _, c := range list {
					if c, ok := c.(map[string]any); ok {
						delete(c, "observedGeneration") // of the moment when somebody had something to say
					}
				}
			}
			if list, ok := x[k].([]any); ok && (k == "finalizers" || k == "conditions") { // each is a set: who was first is nobody's business
				slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
			}
		}
	case []any:
		for i := range x {
			x[i] = normal(x[i])
		}
	}
	return v
}

// difference is the lines that only one of two texts has.
func difference(a, b string) string {
	lines := func(s string) map[string]int {
		out := map[string]int{}
		for l := range strings.Lines(s) {
			out[strings.TrimSuffix(strings.TrimSpace(l), ",")]++
		}
		return out
	}
	la, lb := lines(a), lines(b)
	var out strings.Builder
	for _, l := range slices.Sorted(maps.Keys(la)) {
		if la[l] > lb[l] {
			fmt.Fprintf(&out, "- %.300s\n", l)
		}
	}
	for _, l := range slices.Sorted(maps.Keys(lb)) {
		if lb[l] > la[l] {
			fmt.Fprintf(&out, "+ %.300s\n", l)
		}
	}
	return out.String()
}
