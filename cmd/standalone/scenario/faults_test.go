package scenario

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/broker/stream"
)

// padded makes a module larger with a custom section, which every engine skips: something to fetch for a while.
// The padding is not compressible and differs from call to call.
func padded(wasm []byte, n int) []byte {
	body := append([]byte{3, 'p', 'a', 'd'}, make([]byte, n)...)
	r := rand.New(rand.NewPCG(uint64(n), uint64(len(wasm))))
	for i := 4; i < len(body); i++ {
		body[i] = byte(r.Uint32())
	}
	out := append([]byte{}, wasm...)
	out = append(out, 0)
	for size := uint32(len(body)); ; {
		b := byte(size & 0x7f)
		if size >>= 7; size != 0 {
			out = append(out, b|0x80)
			continue
		}
		out = append(out, b)
		break
	}
	return append(out, body...)
}

// TestKilledInTheMiddleOfATransfer: the device goes on from the chunk where it was.
func TestKilledInTheMiddleOfATransfer(t *testing.T) {
	p := boot(t)
	link := newBalancer(t, p.at.TLS)
	dev := p.devices("d", 1, link.addr())
	p.online("d")
	const size = 192 << 10
	link.pause.Store(int64(5 * time.Millisecond))
	p.apply(application("big", padded(module(t, "hello.wasm"), size)))
	p.until("half of it is there", func() error {
		if n := link.down.Load(); n < size/2 {
			return fmt.Errorf("%d bytes", n)
		}
		return nil
	})
	dev.kill()
	link.pause.Store(0)
	link.cut()
	link.down.Store(0)
	p.devices("d", 1, link.addr())
	p.ready("big", 1)
	if again := link.down.Load(); again > size*3/4 {
		t.Errorf("%d bytes were sent after the restart: it began anew", again)
	}
}

// TestGatewayKilled: 200 devices on two gateways behind one address; one of them dies.
func TestGatewayKilled(t *testing.T) {
	const n = 200
	p := boot(t, "gateway")
	one, a := p.gateway("one")
	_, b := p.gateway("two")
	link := newBalancer(t, a, b)
	p.devices("d", n, link.addr())
	all := names("d", n)
	p.online(all...)
	p.apply(application("hello", module(t, "hello.wasm")))
	p.ready("hello", n)
	before := p.sessions(all)
	per := map[string]int{}
	for _, v := range before {
		per[v.Instance]++
	}
	if per["one"] == 0 || per["two"] == 0 {
		t.Fatalf("the devices are not on both gateways: %v", per)
	}
	link.set(b)
	one.kill()
	p.until("all are on the other gateway", func() error {
		for _, name := range all {
			v, err := p.view(name)
			if err != nil {
				return err
			}
			if !v.Online || v.Instance != "two" {
				return fmt.Errorf("%s: online %v on %s", name, v.Online, v.Instance)
			}
		}
		return nil
	})
	p.ready("hello", n)
	p.unchanged(before, p.sessions(all), "hello")

	// And what happens now is seen: nothing is stuck in an old session.
	p.apply(application("hello", module(t, "hello-v2.wasm")))
	p.ready("hello", n)
}

// sessions returns the views of the devices.
func (p *platform) sessions(names []string) map[string]ledger.DeviceView {
	p.t.Helper()
	out := map[string]ledger.DeviceView{}
	for _, n := range names {
		v, err := p.view(n)
		if err != nil {
			p.t.Fatal(err)
		}
		out[n] = v
	}
	return out
}

// unchanged says that no device was booted again and no instance of the application started again.
func (p *platform) unchanged(before, after map[string]ledger.DeviceView, app string) {
	p.t.Helper()
	for name, b := range before {
		a := after[name]
		x, y := on(b, app), on(a, app)
		if a.BootID != b.BootID {
			p.t.Errorf("%s was booted again", name)
		}
		if x.Revision != y.Revision || x.Restarts != y.Restarts || x.Attempt != y.Attempt || x.State != y.State {
			p.t.Errorf("%s: %s was %+v and is %+v", name, app, x, y)
		}
	}
}

// rebuilt is what must be the same after the ledger was lost (DESIGN: what is derived must be rebuildable).
type rebuilt struct {
	Desired  map[string]map[string]ledger.DesiredApp // device → application
	Reported map[string]map[string]event.AppState
	Sets     map[string]map[string]string
	Online   map[string]string // device → instance that holds it
	Counts   map[string]ledger.Counts
}

func (p *platform) rebuilt(devices, apps []string) (rebuilt, error) {
	r := rebuilt{map[string]map[string]ledger.DesiredApp{}, map[string]map[string]event.AppState{}, map[string]map[string]string{}, map[string]string{}, map[string]ledger.Counts{}}
	for _, name := range devices {
		v, err := p.view(name)
		if err != nil {
			return r, err
		}
		d, err := p.led.Desired(p.ctx(), v.Device)
		if err != nil {
			return r, err
		}
		if v.Online {
			r.Online[name] = v.Instance
		}
		r.Desired[name], r.Reported[name], r.Sets[name] = d.Apps, map[string]event.AppState{}, map[string]string{}
		for _, a := range v.Apps {
			r.Sets[name][a.App] = a.Set
			if a.Reported != nil {
				r.Reported[name][a.App] = *a.Reported
			}
		}
	}
	for _, app := range apps {
		c, err := p.led.Counts(p.ctx(), ledger.App{Namespace: ns, Name: app})
		if err != nil {
			return r, err
		}
		r.Counts[app] = c
	}
	return r, nil
}

// TestLedgerLost: FLUSHALL while everything runs.
func TestLedgerLost(t *testing.T) {
	p := boot(t)
	p.devices("d", 5, p.at.Address)
	all := names("d", 5)
	p.online(all...)
	p.apply(application("hello", module(t, "hello.wasm")))
	p.apply(application("counter", module(t, "counter.wasm"), func(s *v1alpha1.ApplicationSpec) {
		s.Targets = v1alpha1.Targets{Names: all[:2]}
	}))
	p.ready("hello", 5)
	p.ready("counter", 2)
	apps := []string{"hello", "counter"}
	before, err := p.rebuilt(all, apps)
	if err != nil {
		t.Fatal(err)
	}
	views := p.sessions(all)
	began := time.Now()
	for round := range 2 {
		if err := p.rdb.FlushAll(p.ctx()).Err(); err != nil {
			t.Fatal(err)
		}
		p.until("what is rebuilt equals what was", func() error {
			now, err := p.rebuilt(all, apps)
			if err != nil {
				return err
			}
			if !reflect.DeepEqual(before, now) {
				return fmt.Errorf("was %+v\nis  %+v", before, now)
			}
			return nil
		})
		p.unchanged(views, p.sessions(all), "hello")
		p.unchanged(views, p.sessions(all), "counter")
		p.cliUntil(event.LedgerLost, "events", "-A", "-f")
		t.Logf("round %d: the same again", round+1)
	}
	// Each device has ended one session of an enrolled one at most: none, in fact; first contacts end otherwise.
	if n := p.metric(p.at.HTTP, "wasmbed_gateway_devices"); n != 5 {
		t.Errorf("%v sessions", n)
	}
	for name, v := range p.sessions(all) {
		if v.ConnectedAt.After(began) {
			t.Errorf("%s: its session was dropped, the present one is of %s", name, v.ConnectedAt)
		}
	}
	p.apply(application("hello", module(t, "hello-v2.wasm")))
	p.ready("hello", 5)
}

// metric reads one number of a /metrics page: the sum over its labels. A metric that is not there fails the test.
func (p *platform) metric(host, name string) float64 {
	p.t.Helper()
	resp, err := http.Get("http://" + host + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	var sum float64
	found := false
	for _, line := range strings.Split(string(b), "\n") {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || (rest[0] != '{' && rest[0] != ' ') {
			continue
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			p.t.Fatal(err)
		}
		sum, found = sum+v, true
	}
	if !found {
		p.t.Fatalf("%s has no metric %s", host, name)
	}
	return sum
}

// TestStandaloneKilled: SIGKILL, start again: the same state, nothing deployed twice.
func TestStandaloneKilled(t *testing.T) {
	p := boot(t)
	all := names("d", 2)
	link := newBalancer(t, p.at.TLS)
	p.devices("d", 2, link.addr())
	p.online(all...)
	p.apply(application("hello", module(t, "hello.wasm")))
	was := p.ready("hello", 2)
	views := p.sessions(all)
	p.main.kill()
	p.start()
	link.set(p.at.TLS)
	p.online(all...)
	is := p.ready("hello", 2)
	if was.Status.Revision != is.Status.Revision || was.Status.Rollout.Sequence != is.Status.Rollout.Sequence || was.Generation != is.Generation {
		t.Errorf("another rollout: %+v, then %+v", was.Status.Rollout, is.Status.Rollout)
	}
	revisions, _, err := p.kube.Revisions.List(p.ctx(), ns, client0)
	if err != nil || len(revisions) != 1 {
		t.Errorf("%d revisions, %v", len(revisions), err)
	}
	p.unchanged(views, p.sessions(all), "hello")
}

// TestKubernetesAway: devices stay, what they say is recorded, decisions and status catch up.
func TestKubernetesAway(t *testing.T) {
	p := boot(t, "kubeapi")
	p.devices("d", 2, p.at.Address)
	all := names("d", 2)
	p.online(all...)
	p.apply(application("hello", module(t, "hello.wasm")))
	p.ready("hello", 2)
	// It traps at its fifth timer tick, after its trial, and is started again: never often enough to be a loop.
	p.apply(application("trapper", module(t, "trapper.wasm"), func(s *v1alpha1.ApplicationSpec) {
		s.Manifest.Health.MaxTraps = 100
		s.Manifest.Config = map[string]string{"when": "5"}
	}))
	traps := func() int {
		v, err := p.view(all[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range v.Apps {
			if a.App == "trapper" {
				return a.Traps
			}
		}
		return 0
	}
	p.until("it traps", func() error {
		if traps() == 0 {
			return fmt.Errorf("no trap")
		}
		return nil
	})
	views := p.sessions(all)
	p.parts["kubeapi"].kill()
	had := traps()
	p.until("traps are recorded while the API is away", func() error {
		if n := traps(); n < had+3 {
			return fmt.Errorf("%d traps, had %d", n, had)
		}
		return nil
	})
	p.cut(all[1])
	p.part("kubeapi")
	p.until("the API is back", func() error {
		_, err := p.app("hello")
		return err
	})
	p.until("the device's status caught up", func() error {
		d, err := p.kube.Devices.Get(p.ctx(), ns, all[1])
		if c := condition(d.Status.Conditions, "Online"); err == nil && c.Status != metav1.ConditionTrue {
			err = fmt.Errorf("Online is %s: %s", c.Status, c.Message)
		}
		return err
	})
	p.apply(application("hello", module(t, "hello-v2.wasm")))
	p.ready("hello", 2)
	now := p.sessions(all)
	if now[all[0]].Epoch != views[all[0]].Epoch {
		t.Errorf("%s lost its session", all[0])
	}
	if now[all[1]].BootID != views[all[1]].BootID {
		t.Errorf("%s was booted again", all[1])
	}
}

// cut ends a device's session from the platform's side, by giving its lease to somebody else for a moment: the
// gateway says goodbye and the device comes back.
func (p *platform) cut(name string) {
	p.t.Helper()
	a := affinity.New(p.rdb, p.led.Keys(), affinity.Options{})
	d := event.Device{Namespace: ns, Name: name}
	before, err := p.view(name)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, _, err := a.Acquire(p.ctx(), d, "nobody", time.Second); err != nil {
		p.t.Fatal(err)
	}
	p.until(name+" has a new session", func() error {
		v, err := p.view(name)
		if err == nil && (v.Epoch == before.Epoch || !v.Online) {
			err = fmt.Errorf("epoch %d, online %v", v.Epoch, v.Online)
		}
		return err
	})
}

// TestBrokerAndFunctionsKilled: whatever was accepted has its effect on ledger and CRDs exactly once.
func TestBrokerAndFunctionsKilled(t *testing.T) {
	p := boot(t, "broker", "functions")
	p.devices("d", 3, p.at.Address)
	all := names("d", 3)
	p.online(all...)

	// Accepted, and nobody there to deliver to; then the broker dies too.
	p.parts["functions"].kill()
	p.apply(application("hello", module(t, "hello.wasm")))
	p.until("the change is accepted", func() error {
		got, _, err := stream.Recent(p.ctx(), p.rdb, "", 1000, 0)
		if err != nil {
			return err
		}
		for _, g := range got {
			if g.Event.Type() == event.RefAdd && strings.HasSuffix(g.Event.Subject(), "/hello") {
				return nil
			}
		}
		return fmt.Errorf("%d events, none of hello", len(got))
	})
	p.parts["broker"].kill()
	p.functions()
	p.part("broker")
	one := p.ready("hello", 3).Status
	if one.Rollout.Sequence != 1 {
		t.Errorf("the first rollout is number %d", one.Rollout.Sequence)
	}

	// Every event is delivered at least twice: its effect happens, and the answer is lost; every tenth time the
	// process dies with it.
	p.answers.lose(func() {
		p.parts["functions"].kill()
		p.functions()
	})
	p.apply(application("hello", module(t, "hello-bad.wasm")))
	p.until("rolled back", func() error {
		a, err := p.app("hello")
		if err != nil {
			return err
		}
		back, ready := condition(a.Status.Conditions, "RolledBack"), condition(a.Status.Conditions, "Ready")
		if back.Status != metav1.ConditionTrue || ready.Status != metav1.ConditionTrue || a.Status.Rollout.State != v1alpha1.RolloutComplete {
			return fmt.Errorf("RolledBack %s, Ready %s (%s), rollout %+v", back.Status, ready.Status, ready.Message, a.Status.Rollout)
		}
		return nil
	})
	lost, killed := p.answers.keep()
	t.Logf("%d answers lost, %d times with the process", lost, killed)
	if lost < 10 || killed == 0 {
		t.Error("the test lost too few answers to say anything")
	}
	a, err := p.app("hello")
	if err != nil {
		t.Fatal(err)
	}
	if a.Status.Rollout.Sequence != 3 || a.Status.Rollout.To != one.Revision {
		t.Errorf("one update and one rollback are rollout 3 to %s; this is %+v", one.Revision, a.Status.Rollout)
	}
	revisions, _, err := p.kube.Revisions.List(p.ctx(), ns, client0)
	if err != nil || len(revisions) != 2 {
		t.Errorf("%d revisions, %v", len(revisions), err)
	}
	for _, name := range all {
		v, err := p.view(name)
		if err != nil {
			t.Fatal(err)
		}
		if s := on(v, "hello"); s.Running != one.Revision {
			t.Errorf("%s runs %+v", name, s)
		}
		got, _, err := p.led.Telemetry(p.ctx(), v.Device, "", 10000)
		if err != nil || len(got) == 0 {
			t.Errorf("%s: %d telemetry records, %v", name, len(got), err)
		}
		seen := map[uint64]bool{}
		for _, g := range got {
			if seen[g.Seq] {
				t.Errorf("%s: record %d is there twice", name, g.Seq)
			}
			seen[g.Seq] = true
		}
	}
}
