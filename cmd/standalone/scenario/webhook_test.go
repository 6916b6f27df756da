package scenario

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/stream"
	"wasmbed.io/wasmbed/internal/errs"
)

const hookKey = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="

// outside is a receiver as they are in the field: it verifies what it takes with a library that is not ours, and fails now
// and then. Each message fails at most once, so that the test ends before the long pauses of the schedule.
type outside struct {
	*httptest.Server
	verifier *standardwebhooks.Webhook

	mu     sync.Mutex
	random *rand.Rand
	calm   bool
	inRow  int // failures: with three the sender would rest for longer and longer
	hangs  int // how often it may still say nothing at all
	kills  int // how often it may still have the sender killed while it waits
	kill   chan struct{}
	failed map[string]string // webhook-id → how
	taken  map[string]int    // webhook-id → how often
	events map[string]ce.Event
	ids    map[string]string // source and id of an event → webhook-id
	wrong  []string
	modes  map[string]int
}

func newOutside(t *testing.T) *outside {
	t.Helper()
	v, err := standardwebhooks.NewWebhook(hookKey)
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	o := &outside{verifier: v, random: rand.New(rand.NewPCG(seed, 1)), calm: true, kill: make(chan struct{}), failed: map[string]string{}, taken: map[string]int{},
		events: map[string]ce.Event{}, ids: map[string]string{}, modes: map[string]int{}}
	o.Server = httptest.NewTLSServer(o)
	t.Cleanup(o.CloseClientConnections)
	t.Cleanup(o.Close)
	return o
}

func (o *outside) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sender ended
	}
	id := r.Header.Get("webhook-id")
	switch o.mode(id) {
	case "500":
		w.WriteHeader(http.StatusInternalServerError)
	case "429":
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	case "abort":
		panic(http.ErrAbortHandler)
	case "hang":
		<-r.Context().Done()
	case "kill": // it is taken, and the sender dies before it hears so
		o.take(id, r.Header, body)
		select {
		case o.kill <- struct{}{}:
		case <-r.Context().Done(): // the sender gave up before anybody came to kill it: another time
			o.mu.Lock()
			o.kills++
			o.mu.Unlock()
			return
		}
		<-r.Context().Done() // it was never answered
	default:
		o.take(id, r.Header, body)
	}
}

// mode says how a message is met. A second time it is taken.
func (o *outside) mode(id string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.calm || o.failed[id] != "" || o.inRow >= 2 {
		o.inRow = 0
		return ""
	}
	mode := ""
	switch n := o.random.IntN(100); {
	case o.kills > 0 && len(o.taken) > 20:
		o.kills--
		mode = "kill"
	case o.hangs > 0 && n < 10:
		o.hangs--
		mode = "hang"
	case n < 18:
		mode = "500"
	case n < 22:
		mode = "429"
	case n < 28:
		mode = "abort"
	}
	if mode != "" {
		o.failed[id] = mode
		o.modes[mode]++
		o.inRow++
	} else {
		o.inRow = 0
	}
	return mode
}

func (o *outside) take(id string, h http.Header, body []byte) {
	var e ce.Event
	err := o.verifier.Verify(body, h)
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.wrong = append(o.wrong, fmt.Sprintf("%s: %v", id, err))
		return
	}
	of := e.Source() + " " + e.ID()
	if had := o.ids[of]; had != "" && had != id {
		o.wrong = append(o.wrong, fmt.Sprintf("%s came under %s and %s", of, had, id))
	}
	if had, ok := o.events[id]; ok && (had.ID() != e.ID() || had.Source() != e.Source()) {
		o.wrong = append(o.wrong, fmt.Sprintf("%s is of two events", id))
	}
	o.ids[of], o.events[id] = id, e
	o.taken[id]++
}

// has reports whether an event of a type came of which is says yes.
func (o *outside) has(typ string, is func(e ce.Event) bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.events {
		if e.Type() == typ && is(e) {
			return true
		}
	}
	return false
}

// expectation is what must come, by its name: done says whether it has.
type expectation struct {
	mu    sync.Mutex
	order []string
	done  map[string]func() bool
}

func (x *expectation) add(what string, done func() bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.done[what] == nil {
		x.order = append(x.order, what)
	}
	x.done[what] = done
}

func (x *expectation) missing() (open []string, all int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, what := range x.order {
		if !x.done[what]() {
			open = append(open, what)
		}
	}
	return open, len(x.order)
}

func dataIs(e ce.Event, want map[string]any) bool {
	var have map[string]any
	if json.Unmarshal(e.Data(), &have) != nil {
		return false
	}
	for k, v := range want {
		if fmt.Sprint(have[k]) != fmt.Sprint(v) {
			return false
		}
	}
	return true
}

// watchKubernetes expects the change events of what the Kubernetes API shows, and those of the rollouts that it tells of.
func (x *expectation) watchKubernetes(p *platform, o *outside) {
	p.t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", p.dir+"/kubeconfig")
	if err != nil {
		p.t.Fatal(err)
	}
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, kind := range []string{"Application", "Device", "Module", "Revision", "Gateway", "WebhookSource"} {
		r := dyn.Resource(resource(kind)).Namespace(ns)
		list, err := r.List(p.t.Context(), metav1.ListOptions{})
		if err != nil {
			p.t.Fatal(err)
		}
		known := map[string]string{} // uid → version, of what was there before
		for _, u := range list.Items {
			known[string(u.GetUID())] = u.GetResourceVersion()
		}
		w, err := r.Watch(p.t.Context(), metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
		if err != nil {
			p.t.Fatal(err)
		}
		p.t.Cleanup(w.Stop)
		go func() {
			for ev := range w.ResultChan() {
				u, ok := ev.Object.(*unstructured.Unstructured)
				if !ok {
					continue
				}
				x.change(o, string(ev.Type), kind, u)
			}
		}()
	}
}

func (x *expectation) change(o *outside, change, kind string, u *unstructured.Unstructured) {
	name := u.GetName()
	ref := func(e ce.Event) bool { return dataIs(e, map[string]any{"kind": kind, "name": name, "namespace": ns}) }
	switch change {
	case "ADDED":
		x.add(kind+" "+name+" was made", func() bool { return o.has(event.RefAdd, ref) })
	case "DELETED":
		x.add(kind+" "+name+" is gone", func() bool { return o.has(event.RefDelete, ref) })
	case "MODIFIED":
		// Changes that follow each other closely are one event, which names the object and not what it was. So what must be
		// is: after the last of them one was said. The object tells its time, to the second.
		var last time.Time
		for _, f := range u.GetManagedFields() {
			if f.Time != nil && f.Time.After(last) {
				last = f.Time.Time
			}
		}
		x.add(kind+" "+name+" changed", func() bool {
			return o.has(event.RefUpdate, func(e ce.Event) bool { return ref(e) && !e.Time().Truncate(time.Second).Before(last) })
		})
	}
	rollout, ok, _ := unstructured.NestedMap(u.Object, "status", "rollout")
	if kind == "Revision" && change == "ADDED" {
		app, _, _ := unstructured.NestedString(u.Object, "spec", "application")
		x.add("revision "+name, func() bool {
			return o.has(event.ApplicationRevised, func(e ce.Event) bool { return dataIs(e, map[string]any{"application": app, "to": name}) })
		})
	}
	if kind != "Application" || change == "DELETED" || !ok {
		return
	}
	sequence, is := rollout["sequence"], map[string]any{"application": name, "sequence": rollout["sequence"], "to": rollout["to"]}
	told := func(typ string) {
		x.add(fmt.Sprintf("%s of %s, rollout %v to %v", typ, name, sequence, rollout["to"]), func() bool {
			return o.has(typ, func(e ce.Event) bool { return dataIs(e, is) })
		})
	}
	if rollout["startedAt"] != nil {
		told(event.RolloutStarted)
	}
	switch rollout["state"] {
	case string(v1alpha1.RolloutComplete):
		told(event.RolloutCompleted)
	case string(v1alpha1.RolloutFailedState):
		told(event.RolloutFailed)
	}
	if r := rollout["reason"]; r == v1alpha1.RolloutFailed || r == v1alpha1.RolloutRequested {
		told(event.RollbackDecided)
	}
}

// watchLedger expects an event for each move between work sets that the ledger's feed tells of and a device's report caused.
func (x *expectation) watchLedger(p *platform, o *outside) {
	p.t.Helper()
	_, from, err := p.led.Feed(p.t.Context(), nil, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	go func() {
		for p.t.Context().Err() == nil {
			entries, next, err := p.led.Feed(p.t.Context(), from, time.Second)
			if err != nil {
				continue
			}
			from = next
			for _, f := range entries {
				if f.Kind != "set" || f.From != "inflight" || f.To != "done" && f.To != "failed" {
					continue
				}
				x.add(fmt.Sprintf("%s of %s is %s (%s-%d)", f.Device.Name, f.App, f.To, f.ID, f.Shard), func() bool {
					return o.has(event.DeviceStateChanged, func(e ce.Event) bool {
						d, err := event.Data[event.StateChanged](e)
						if err != nil || d.Device != f.Device {
							return false
						}
						for _, c := range d.Changes {
							if c.App == f.App && c.From == f.From && c.To == f.To {
								return true
							}
						}
						return false
					})
				})
			}
		}
	}()
}

// watchBroker expects every event of the namespace that the broker accepted, but for those that are never sent.
func (x *expectation) watchBroker(p *platform, o *outside) {
	p.t.Helper()
	_, from, err := stream.Recent(p.t.Context(), p.rdb, "$", 1, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	never := map[string]bool{event.TelemetryReceived: true, event.LogsReceived: true, event.TimerDue: true, event.DeviceEnrollmentRequested: true}
	go func() {
		for p.t.Context().Err() == nil {
			got, next, err := stream.Recent(p.t.Context(), p.rdb, from, 500, time.Second)
			if err != nil || next == "" {
				continue
			}
			from = next
			for _, s := range got {
				e := s.Event
				if event.Namespace(e) != ns || never[e.Type()] || event.Extension(e, event.ExtKind) == v1alpha1.KindWebhook {
					continue
				}
				of := e.Source() + " " + e.ID()
				x.add(e.Type()+" "+of, func() bool {
					o.mu.Lock()
					defer o.mu.Unlock()
					return o.ids[of] != ""
				})
			}
		}
	}()
}

// TestWebhooksOut: a receiver outside gets every change of a custom resource and every transition of a rollout at least once,
// though it fails at random and the sender is killed while it sends. What must come is found out by others: from the
// Kubernetes API, from the ledger's feed, and from what the broker accepted.
func TestWebhooksOut(t *testing.T) {
	t.Setenv("WASMBED_WEBHOOK_PRIVATE", "true")
	p := boot(t, "functions")
	p.devices("d", 2, p.at.Address)
	p.online(names("d", 2)...)
	o := newOutside(t)
	for name, data := range map[string]map[string][]byte{
		"hook": {"secret": []byte(hookKey)}, "ca": {"ca.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: o.Certificate().Raw})},
	} {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Type: "Opaque", Data: data}
		if name == "hook" {
			s.Type = v1alpha1.SecretTypeWebhook
		}
		if _, err := p.kube.Secrets.Create(p.ctx(), s); err != nil {
			t.Fatal(err)
		}
	}
	hook := &v1alpha1.Webhook{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "all"}, Spec: v1alpha1.WebhookSpec{
		URL: o.URL + "/in", AllowPrivate: true, SecretRef: v1alpha1.SecretReference{Name: "hook"}, CASecretRef: &v1alpha1.CAReference{Name: "ca"},
	}}
	if _, err := p.kube.Webhooks.Create(p.ctx(), hook); err != nil {
		t.Fatal(err)
	}
	// From here on the webhook is known: what is said now is expected.
	if _, stderr, code := p.cli("webhook", "test", "all"); code != 0 {
		t.Fatalf("webhook test: %d %s", code, stderr)
	}
	p.until("the test event came", func() error {
		if !o.has(event.WebhookTested, func(ce.Event) bool { return true }) {
			return errors.New("it did not")
		}
		return nil
	})
	x := &expectation{done: map[string]func() bool{}}
	x.watchKubernetes(p, o)
	x.watchLedger(p, o)
	x.watchBroker(p, o)
	o.mu.Lock()
	o.calm, o.hangs, o.kills = false, 1, 2
	o.mu.Unlock()

	killed, stop := 0, make(chan struct{})
	var killer sync.WaitGroup
	killer.Add(1)
	asked := make(chan func(), 1) // the test's own goroutine starts processes
	go func() {
		defer killer.Done()
		for {
			select {
			case <-o.kill:
				asked <- func() {
					p.parts["functions"].kill() // SIGKILL, with a post under way
					p.functions()
					killed++
				}
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); killer.Wait() })
	serve := func() {
		select {
		case do := <-asked:
			do()
		default:
		}
	}
	wait := func(what string, is func() error) {
		t.Helper()
		p.until(what, func() error { serve(); return is() })
	}

	rollout := func(to string, state v1alpha1.RolloutState) {
		t.Helper()
		wait("rollout to "+to, func() error {
			a, err := p.app("hello")
			if err == nil && (a.Status.Rollout == nil || !strings.HasPrefix(a.Status.Rollout.To, to+"-") || a.Status.Rollout.State != state || a.Status.ObservedGeneration != a.Generation) {
				err = fmt.Errorf("%+v", a.Status.Rollout)
			}
			return err
		})
	}
	p.apply(application("hello", module(t, "hello.wasm")))
	rollout("hello-1", v1alpha1.RolloutComplete)
	a, err := p.app("hello")
	if err != nil {
		t.Fatal(err)
	}
	first := a.Status.Revision
	p.apply(application("hello", module(t, "hello-v2.wasm")))
	rollout("hello-2", v1alpha1.RolloutComplete)
	p.apply(application("hello", module(t, "hello-bad.wasm"))) // and the platform goes back by itself
	rollout("hello-2", v1alpha1.RolloutComplete)
	wait("it was rolled back", func() error {
		a, err := p.app("hello")
		if err == nil && (condition(a.Status.Conditions, "RolledBack").Status != metav1.ConditionTrue || a.Status.Rollout.Sequence < 4 || a.Status.Rollout.State != v1alpha1.RolloutComplete) {
			err = fmt.Errorf("%+v", a.Status.Rollout)
		}
		return err
	})
	if out, stderr, code := p.cli("rollback", "hello", "--to", first, "--no-wait"); code != 0 {
		t.Fatalf("rollback: %d %s%s", code, out, stderr)
	}
	rollout("hello-1", v1alpha1.RolloutComplete)
	p.cli("hold", "d-0001")
	p.cli("release", "d-0001")
	if err := p.kube.Applications.Delete(p.ctx(), ns, "hello"); err != nil {
		t.Fatal(err)
	}
	wait("the application is gone", func() error {
		_, err := p.app("hello")
		if !errs.Is(err, errs.NotFound) {
			return fmt.Errorf("it is there: %v", err)
		}
		return nil
	})

	// All of it comes. What is under way when the sender dies comes again after its lease; a failed attempt after 5 s.
	var open []string
	var all int
	for end := time.Now().Add(6 * time.Minute); ; {
		serve()
		if open, all = x.missing(); len(open) == 0 && killed == 2 {
			break
		}
		if time.Now().After(end) {
			break
		}
		time.Sleep(100 * time.Millisecond) // a poll with a deadline
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	twice := 0
	for _, n := range o.taken {
		if n > 1 {
			twice++
		}
	}
	t.Logf("%d expectations, %d messages taken, %d of them more than once; failures %v; killed %d times", all, len(o.taken), twice, o.modes, killed)
	if all < 60 || killed != 2 || twice < killed || len(o.modes) < 3 {
		t.Errorf("too little happened to say anything: %d expectations, %d kills, %v", all, killed, o.modes)
	}
	for _, what := range open {
		t.Errorf("never came: %s", what)
	}
	for _, what := range o.wrong {
		t.Error(what)
	}
}
