package functions

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/redis/go-redis/v9"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/broker/ledger/testcluster"
	"wasmbed.io/wasmbed/functions/enroll"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testredis"
)

const ns = "plant"

// world is all of Wasmbed but its transports: the real functions on a real Redis and on the in-memory twin
// of Kubernetes, with simulated gateways and devices, and a broker that may deliver every event twice and in
// any order. Time stands still unless the test moves it.
type world struct {
	t        testing.TB
	ctx      context.Context
	set      *client.Set
	redis    redis.UniversalClient
	ledger   *ledger.Ledger
	affinity *affinity.Affinity
	tables   []map[string]Entry // replicas, which share nothing in memory
	parallel int                // deliveries under way at once
	devices  map[string]*device
	rand     *rand.Rand
	rude     bool // events come twice, and in any order
	lossy    bool // answers get lost, and calls of Kubernetes fail

	mu      sync.Mutex
	now     time.Time
	queue   []delivery
	said    []ce.Event // what functions answered or posted, each id once
	seen    map[string]bool
	n       int
	handled int
	inside  bool                              // a function is at work
	outage  func(verb, resource string) error // of Kubernetes
}

type delivery struct {
	e     ce.Event
	to    string // function; "": all that take it
	tries int
}

func newWorld(t testing.TB, rude bool, seed uint64) *world {
	w := emptyWorld(t, rude, seed)
	set := client.NewMemoryWith(client.MemoryOptions{Now: w.clock, OnChange: w.changed, Fail: w.fail})
	w.populate(set, func(string) *client.Set { return set })
	return w
}

// fail is the weather of the in-memory Kubernetes.
func (w *world) fail(verb, resource, _, _ string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.outage != nil {
		return w.outage(verb, resource)
	}
	if w.lossy && w.inside && w.rand.IntN(30) == 0 {
		return errs.New(errs.Unavailable, "%s %s: the API server is away", verb, resource)
	}
	return nil
}

func emptyWorld(t testing.TB, rude bool, seed uint64) *world {
	w := &world{t: t, ctx: t.Context(), devices: map[string]*device{}, rude: rude, rand: rand.New(rand.NewPCG(seed, 1)),
		now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), seen: map[string]bool{}}
	var rdb redis.UniversalClient
	if strings.HasPrefix(t.Name(), "TestRedisCluster/") { // the same test on another Redis
		rdb = testcluster.Start(t)
	} else {
		rdb = testredis.Start(t).Client(t)
	}
	w.redis = rdb
	w.ledger = ledger.New(rdb, ledger.Options{Now: w.clock})
	w.affinity = affinity.New(rdb, w.ledger.Keys(), affinity.Options{Now: w.clock})
	return w
}

// populate puts the functions into the world, each with its own client, and the device authority.
func (w *world) populate(admin *client.Set, as func(function string) *client.Set) {
	w.set = admin
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("WORLD_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	for range 2 {
		w.tables = append(w.tables, map[string]Entry{})
	}
	for i, name := range slices.Concat(Names(), Names()) {
		w.tables[i/len(Names())][name] = Table(Deps{Client: as(name), Ledger: w.ledger, Instances: w.affinity, Sink: w, TrustDomain: "wasmbed.local", AdvanceGap: -1, Now: w.clock, Log: log, Registry: noRegistry{}})[name]
	}
	crt, key, err := enroll.EnsureAuthority(w.ctx, w.set.Secrets, "wasmbed.local", w.clock())
	if err != nil || len(crt) == 0 || len(key) == 0 {
		w.t.Fatal(err)
	}
	w.era()
}

type noRegistry struct{}

func (noRegistry) Pull(_ context.Context, ref string) ([]byte, string, error) {
	return nil, "", errs.New(errs.NotFound, "%s: no such artifact", ref)
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// changed is the CRD source.
func (w *world) changed(c client.Change) {
	switch c.Kind {
	case "Event", "Secret":
		return
	}
	w.post(w.event("dev.knative.apiserver.ref."+c.Verb, "https://kubernetes.default.svc", c.Namespace+"/"+c.Name,
		event.ObjectReference{APIVersion: "wasmbed.io/v1alpha1", Kind: c.Kind, Namespace: c.Namespace, Name: c.Name}))
}

func (w *world) event(typ, source, subject string, data any) ce.Event {
	w.mu.Lock()
	w.n++
	id := fmt.Sprint("e", w.n)
	now := w.now
	w.mu.Unlock()
	e, err := event.New(typ, source, subject, id, data, event.At(now), event.In(ns))
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

const gatewaySource = "/wasmbed/namespaces/plant/gateways/main/gw-1"

func (w *world) fromGateway(typ string, data any) {
	w.post(w.event(typ, gatewaySource, "", data))
}

func (w *world) post(e ce.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = append(w.queue, delivery{e: e})
}

// Post is the functions' sink.
func (w *world) Post(_ context.Context, e ce.Event) error {
	trouble := 0
	if w.lossy {
		w.mu.Lock()
		trouble = w.rand.IntN(10)
		w.mu.Unlock()
	}
	if trouble == 1 {
		return errs.New(errs.Unavailable, "the broker is away")
	}
	w.say(e)
	w.post(e)
	if trouble == 2 {
		return errs.New(errs.Unavailable, "the broker's answer got lost")
	}
	return nil
}

func (w *world) say(e ce.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if k := e.Source() + " " + e.ID(); !w.seen[k] {
		w.seen[k] = true
		w.said = append(w.said, e)
	}
}

// era makes the ledger's era, as the first gateway would, and says so when it is new.
func (w *world) era() string {
	era, created, err := w.ledger.Era(w.ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	if created {
		w.fromGateway(event.LedgerLost, event.Lost{Era: era, By: "gw-1"})
	}
	return era
}

// drain delivers until nothing is left, timers that are due included.
func (w *world) drain() {
	w.t.Helper()
	for round := 0; ; round++ {
		if round > 20000 {
			w.t.Fatalf("the functions do not come to rest; next is %v", w.queue[0].e)
		}
		w.mu.Lock()
		n := len(w.queue)
		if n == 0 {
			w.mu.Unlock()
			if !w.tick() {
				return
			}
			continue
		}
		if w.parallel > 1 {
			batch := slices.Clone(w.queue[:min(n, w.parallel)])
			w.queue = slices.Delete(w.queue, 0, len(batch))
			w.mu.Unlock()
			var wg sync.WaitGroup
			for _, d := range batch {
				wg.Go(func() { w.deliver(d) })
			}
			wg.Wait()
			continue
		}
		i := 0
		if w.rude {
			i = w.rand.IntN(min(n, 8))
		}
		d := w.queue[i]
		w.queue = slices.Delete(w.queue, i, i+1)
		if w.rude && d.tries == 0 && w.rand.IntN(2) == 0 { // once more, later
			at := i + w.rand.IntN(len(w.queue)-i+1)
			w.queue = slices.Insert(w.queue, at, delivery{e: d.e, to: d.to, tries: 1})
		}
		w.mu.Unlock()
		w.deliver(d)
	}
}

func (w *world) deliver(d delivery) {
	w.t.Helper()
	for _, name := range Names() {
		entry := w.tables[w.pick(len(w.tables))][name]
		if d.to != "" && d.to != name || !slices.Contains(entry.Types, d.e.Type()) || !takes(name, d.e) {
			continue
		}
		w.at(true)
		reply, err := entry.Function.Handle(w.ctx, d.e)
		w.at(false)
		if err == nil && w.lossy && d.tries < 20 && w.pick(4) == 0 {
			// The process ends between effect and answer: nobody hears the answer, and the event comes again.
			err = errs.New(errs.Unavailable, "killed")
		}
		switch status := Status(err); {
		case err == nil || status < 400:
			if reply != nil {
				w.say(*reply)
				w.post(*reply)
			}
		case status == 409 || status == 429 || status >= 500:
			if d.tries > 30 {
				w.t.Errorf("%s on %s: %v", name, d.e.Type(), err)
				continue
			}
			w.mu.Lock()
			w.queue = append(w.queue, delivery{e: d.e, to: name, tries: d.tries + 1})
			w.mu.Unlock()
		default:
			w.t.Errorf("%s refuses %s: %v", name, d.e.Type(), err)
		}
	}
}

func (w *world) at(work bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inside = work
	if work {
		w.handled++
	}
}

func (w *world) pick(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rand.IntN(n)
}

// takes is what the Triggers filter beyond the type.
func takes(function string, e ce.Event) bool {
	switch e.Type() {
	case event.RefAdd, event.RefUpdate, event.RefDelete:
		ref, err := event.Data[event.ObjectReference](e)
		kinds := map[string][]string{"deploy": {"Application", "Device", "Module"}, "enroll": {"Device", "Gateway"}}
		return err == nil && slices.Contains(kinds[function], ref.Kind)
	case event.TimerDue:
		t, err := event.Data[event.Timer](e)
		kinds := map[string][]string{"deploy": {"advance", "deadline"}, "report": {"status"}}
		return err == nil && slices.Contains(kinds[function], t.Kind)
	}
	return true
}

// tick posts the timers that are due, and says whether there were any.
func (w *world) tick() bool {
	any := false
	for shard := range w.ledger.Shards() {
		due, err := w.ledger.Due(w.ctx, shard, 1000)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, t := range due {
			any = true
			w.fromGateway(event.TimerDue, t)
		}
		if err := w.ledger.DoneDue(w.ctx, shard, due); err != nil {
			w.t.Fatal(err)
		}
	}
	return any
}

// settle lets devices act and functions answer until nobody has anything to do any more, for a while of
// simulated time.
func (w *world) settle(d time.Duration) {
	w.t.Helper()
	end := w.clock().Add(d)
	for {
		w.drain()
		acted := false
		for _, name := range slices.Sorted(maps.Keys(w.devices)) {
			acted = w.devices[name].act() || acted
		}
		w.drain()
		if !acted {
			if !w.clock().Before(end) {
				return
			}
			w.pass(300 * time.Millisecond)
		}
	}
}

// deviceObject is an approved device.
func deviceObject(who event.Device) *v1alpha1.Device {
	return &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: who.Namespace, Name: who.Name}, Spec: v1alpha1.DeviceSpec{Board: "Mps2An385", Approval: v1alpha1.ApprovalApproved}}
}

// wasm is a module that is valid, and different for each n.
func wasm(n byte) []byte { return wasmWith(n, "", 1) }

// wasmWith also imports a host function of one i32 that returns one, and has some pages of memory.
func wasmWith(n byte, imported string, pages byte) []byte {
	section := func(id byte, body string) string { return string([]byte{id, byte(len(body))}) + body }
	name := func(s string) string { return string([]byte{byte(len(s))}) + s }
	b := "\x00asm\x01\x00\x00\x00" + section(1, "\x02\x60\x00\x01\x7f\x60\x01\x7f\x01\x7f") // () -> i32, (i32) -> i32
	start := "\x00"
	if imported != "" {
		b += section(2, "\x01"+name("wasmbed")+name(imported)+"\x00\x01")
		start = "\x01"
	}
	b += section(3, "\x01\x00") + section(5, "\x01\x00"+string([]byte{pages}))
	b += section(7, "\x02"+name("wasmbed_start")+"\x00"+start+name("memory")+"\x02\x00")
	return []byte(b + section(10, "\x01\x04\x00\x41"+string([]byte{n & 0x3f})+"\x0b")) // i32.const n
}

func (w *world) app(name string) *v1alpha1.Application {
	w.t.Helper()
	a, err := w.set.Applications.Get(w.ctx, ns, name)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) edit(name string, change func(*v1alpha1.Application)) {
	w.t.Helper()
	for {
		a := w.app(name)
		change(a)
		_, err := w.set.Applications.Update(w.ctx, a)
		if err == nil {
			return
		}
		if !errs.Is(err, errs.Conflict) {
			w.t.Fatal(err)
		}
	}
}

func (w *world) create(name string, module []byte, change func(*v1alpha1.Application)) {
	w.t.Helper()
	a := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec: v1alpha1.ApplicationSpec{Module: v1alpha1.ModuleSource{Inline: module}, Targets: v1alpha1.Targets{All: true}}}
	if change != nil {
		change(a)
	}
	if _, err := w.set.Applications.Create(w.ctx, a); err != nil {
		w.t.Fatal(err)
	}
}

// gateway makes the Gateway object with an open pairing window, and its process.
func (w *world) gateway(approval string) {
	w.t.Helper()
	until := metav1.NewTime(w.clock().Add(24 * time.Hour))
	_, err := w.set.Gateways.Create(w.ctx, &v1alpha1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "main"},
		Spec: v1alpha1.GatewaySpec{Address: "gw.example:8081", Pairing: v1alpha1.Pairing{Until: &until, Approval: approval}}})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.affinity.Register(w.ctx, affinity.Instance{ID: "gw-1", Namespace: ns, Gateway: "main", Address: "gw.example:8081", State: "Up"}, time.Hour); err != nil {
		w.t.Fatal(err)
	}
	w.fromGateway(event.GatewayChanged, event.GatewayInstance{Namespace: ns, Gateway: "main", Instance: "gw-1", State: "Up"})
	w.drain()
}

// fleet enrolls and connects n devices, name-01, ….
func (w *world) fleet(prefix string, n int, labels map[string]string) {
	w.t.Helper()
	for i := range n {
		d := w.newDevice(fmt.Sprintf("%s-%02d", prefix, i+1))
		if v := d.ask(d.request()); v.Status != "Accepted" || v.Device != d.who {
			w.t.Fatalf("verdict on %s: %+v", d.who, v)
		}
		if labels != nil {
			w.label(d.who.Name, labels)
		}
		d.connect()
	}
	w.drain()
}

func (w *world) label(name string, labels map[string]string) {
	w.t.Helper()
	for {
		o, err := w.set.Devices.Get(w.ctx, ns, name)
		if err != nil {
			w.t.Fatal(err)
		}
		if o.Labels == nil {
			o.Labels = map[string]string{}
		}
		for k, v := range labels {
			if v == "" {
				delete(o.Labels, k)
			} else {
				o.Labels[k] = v
			}
		}
		if _, err := w.set.Devices.Update(w.ctx, o); err == nil {
			return
		} else if !errs.Is(err, errs.Conflict) {
			w.t.Fatal(err)
		}
	}
}

// told counts the events of a type that were said, each once.
func (w *world) told(typ string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, e := range w.said {
		if e.Type() == typ {
			n++
		}
	}
	return n
}
