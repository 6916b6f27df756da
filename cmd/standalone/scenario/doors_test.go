package scenario

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
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

// viaCLI is the command line.
type viaCLI struct{ p *platform }

func (d *viaCLI) name() string { return "via-cli" }

func (d *viaCLI) do(args ...string) {
	d.p.t.Helper()
	if out, stderr, code := d.p.cli(args...); code != 0 {
		d.p.t.Fatalf("wasmbed %v: %d %s%s", args, code, out, stderr)
	}
}

func (d *viaCLI) create(device string) {
	d.do("device", "create", device, "--board", "FrdmK64f", "--label", "site=lab")
}
func (d *viaCLI) approve(devices ...string) { d.do(append([]string{"approve"}, devices...)...) }
func (d *viaCLI) deploy(app string, spec map[string]any) {
	d.do("deploy", "../../../firmware/modules/hello.wasm", "--name", app, "--to", strings.Join(names(d.name(), 2), ","), "--permission", "log,clock,telemetry",
		"--health-window", "1s", "--timer", "1=300ms", "--max-unavailable", "100%", "--no-wait")
}
func (d *viaCLI) update(app string, _ map[string]any, module string) {
	d.do("deploy", "--module", module, "--name", app, "--no-wait")
}
func (d *viaCLI) pause(app string, to bool) {
	d.do(map[bool]string{true: "pause", false: "resume"}[to], app)
}
func (d *viaCLI) rollback(app string) { d.do("rollback", app, "--no-wait") }
func (d *viaCLI) hold(device string, to bool) {
	d.do(map[bool]string{true: "hold", false: "release"}[to], device)
}
func (d *viaCLI) stop(app string, _ map[string]any) { d.do("apps", "stop", app) }
func (d *viaCLI) remove(device string)              { d.do("device", "delete", device) }

// viaCurl is the REST API, spoken to by curl where there is one.
type viaCurl struct {
	p     *platform
	curl  string // "": net/http
	token string
}

func newCurl(p *platform) *viaCurl {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, "token"))
	if err != nil {
		p.t.Fatal(err)
	}
	d := &viaCurl{p: p, token: strings.TrimSpace(string(b))}
	if d.curl, err = exec.LookPath("curl"); err != nil {
		p.t.Log("there is no curl: the REST API is spoken to by net/http")
	}
	return d
}

// rest is one request; media is of the body.
func (d *viaCurl) rest(method, path, media string, body any) {
	p := d.p
	p.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		p.t.Fatal(err)
	}
	url := "http://" + p.at.API + "/api/v1" + path
	if d.curl != "" {
		args := []string{"--silent", "--show-error", "--fail-with-body", "--max-time", "60", "-X", method, "-H", "@-", url}
		if body != nil {
			file := filepath.Join(p.t.TempDir(), "body")
			if err := os.WriteFile(file, b, 0o600); err != nil {
				p.t.Fatal(err)
			}
			args = append(args, "-H", "Content-Type: "+media, "--data-binary", "@"+file)
		}
		cmd := exec.Command(d.curl, args...)
		cmd.Env = append(os.Environ(), "no_proxy=127.0.0.1", "NO_PROXY=127.0.0.1")
		cmd.Stdin = strings.NewReader("Authorization: Bearer " + d.token + "\n") // a command line is everybody's to read
		if out, err := cmd.CombinedOutput(); err != nil {
			p.t.Fatalf("curl %s %s: %v\n%s", method, path, err, out)
		}
		return
	}
	req, err := http.NewRequestWithContext(p.ctx(), method, url, bytes.NewReader(b))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	req.Header.Set("Content-Type", media)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		said, _ := io.ReadAll(resp.Body) // for the message
		p.t.Fatalf("%s %s: %s\n%s", method, path, resp.Status, said)
	}
}

func (d *viaCurl) name() string { return "via-curl" }

func (d *viaCurl) send(method, path string, body any) {
	d.p.t.Helper()
	d.rest(method, "/namespaces/"+ns+path, "application/json", body)
}

func (d *viaCurl) create(device string) {
	d.send("POST", "/devices", map[string]any{"metadata": map[string]any{"name": device, "labels": map[string]any{"site": "lab"}}, "spec": map[string]any{"board": "FrdmK64f", "approval": "Approved"}})
}
func (d *viaCurl) approve(devices ...string) {
	for _, name := range devices {
		d.send("POST", "/devices/"+name+"/approve", nil)
	}
}
func (d *viaCurl) deploy(app string, spec map[string]any) {
	d.send("PUT", "/applications/"+app, map[string]any{"spec": spec})
}
func (d *viaCurl) update(app string, _ map[string]any, module string) {
	d.send("PATCH", "/applications/"+app, map[string]any{"spec": map[string]any{"module": map[string]any{"inline": nil, "name": module}}})
}
func (d *viaCurl) pause(app string, to bool) {
	d.send("POST", "/applications/"+app+"/"+map[bool]string{true: "pause", false: "resume"}[to], nil)
}
func (d *viaCurl) rollback(app string) {
	d.send("POST", "/applications/"+app+"/rollback", map[string]any{})
}
func (d *viaCurl) hold(device string, to bool) {
	d.send("POST", "/devices/"+device+"/"+map[bool]string{true: "hold", false: "release"}[to], nil)
}
func (d *viaCurl) stop(app string, _ map[string]any) {
	d.send("POST", "/applications/"+app+"/stop", nil)
}
func (d *viaCurl) remove(device string) { d.send("DELETE", "/devices/"+device, nil) }

// viaKubectl speaks to Kubernetes and to nothing else: by kubectl where there is one, else by what it does, server-side
// apply and merge patches.
type viaKubectl struct {
	p       *platform
	kubectl string // "": dyn
	dyn     dynamic.Interface
	paused  bool
	module  string
}

func newKubectl(p *platform) *viaKubectl {
	p.t.Helper()
	d := &viaKubectl{p: p}
	for _, name := range []string{os.Getenv("WASMBED_TEST_KUBECTL"), "kubectl"} {
		path, err := exec.LookPath(name)
		if name == "" || err != nil {
			continue
		}
		// One that needs the network to be itself is none.
		if out, err := d.command(path, nil, "get", "applications", "-n", ns).CombinedOutput(); err != nil {
			p.t.Logf("%s is of no use here: %v\n%s", path, err, out)
			continue
		}
		d.kubectl = path
		p.t.Logf("kubectl is %s", path)
		return d
	}
	p.t.Log("there is no kubectl: Kubernetes is spoken to by client-go's dynamic client, with server-side apply as kubectl does")
	cfg, err := clientcmd.BuildConfigFromFlags("", filepath.Join(p.dir, "kubeconfig"))
	if err == nil {
		d.dyn, err = dynamic.NewForConfig(cfg)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return d
}

func (d *viaKubectl) name() string { return "via-kubectl" }

func (d *viaKubectl) command(path string, in []byte, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(d.p.ctx(), path, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(d.p.dir, "kubeconfig"), "HOME="+filepath.Dir(d.p.dir), "no_proxy=127.0.0.1", "NO_PROXY=127.0.0.1")
	cmd.Stdin = bytes.NewReader(in)
	return cmd
}

func (d *viaKubectl) do(in []byte, args ...string) {
	d.p.t.Helper()
	if out, err := d.command(d.kubectl, in, append(args, "-n", ns)...).CombinedOutput(); err != nil {
		d.p.t.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
}

func resource(kind string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "wasmbed.io", Version: "v1alpha1", Resource: strings.ToLower(kind) + "s"}
}

// apply is kubectl apply --server-side.
func (d *viaKubectl) apply(kind, name string, labels, spec map[string]any) {
	d.p.t.Helper()
	obj := map[string]any{"apiVersion": "wasmbed.io/v1alpha1", "kind": kind, "metadata": map[string]any{"name": name, "namespace": ns, "labels": labels}, "spec": spec}
	b, err := json.Marshal(obj)
	if err != nil {
		d.p.t.Fatal(err)
	}
	if d.kubectl != "" {
		d.do(b, "apply", "--server-side", "-f", "-")
		return
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(b); err != nil {
		d.p.t.Fatal(err)
	}
	if _, err := d.dyn.Resource(resource(kind)).Namespace(ns).Apply(d.p.ctx(), name, u, metav1.ApplyOptions{FieldManager: "kubectl"}); err != nil {
		d.p.t.Fatal(err)
	}
}

// patch is kubectl patch --type=merge.
func (d *viaKubectl) patch(kind, name, patch string) {
	d.p.t.Helper()
	if d.kubectl != "" {
		d.do(nil, "patch", strings.ToLower(kind), name, "--type=merge", "-p", patch)
		return
	}
	if _, err := d.dyn.Resource(resource(kind)).Namespace(ns).Patch(d.p.ctx(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		d.p.t.Fatal(err)
	}
}

func (d *viaKubectl) create(device string) {
	d.apply("Device", device, map[string]any{"site": "lab"}, map[string]any{"board": "FrdmK64f", "approval": "Approved"})
}
func (d *viaKubectl) approve(devices ...string) {
	for _, name := range devices {
		d.patch("Device", name, `{"spec":{"approval":"Approved"}}`)
	}
}

// spec is the manifest that this door's user keeps in a file and edits.
func (d *viaKubectl) spec(spec map[string]any) map[string]any {
	s := maps.Clone(spec)
	if d.module != "" {
		s["module"] = map[string]any{"name": d.module}
	}
	if d.paused {
		s["paused"] = true
	}
	return s
}
func (d *viaKubectl) deploy(app string, spec map[string]any) {
	d.apply("Application", app, nil, d.spec(spec))
}
func (d *viaKubectl) update(app string, spec map[string]any, module string) {
	d.module = module
	d.apply("Application", app, nil, d.spec(spec))
}
func (d *viaKubectl) pause(app string, to bool) {
	d.paused = false // by a patch, which another manager owns than the file
	d.patch("Application", app, fmt.Sprintf(`{"spec":{"paused":%v}}`, to))
}
func (d *viaKubectl) rollback(app string) {
	if d.kubectl != "" {
		d.do(nil, "annotate", "application", app, v1alpha1.AnnotationRollbackTo+"=")
		return
	}
	d.patch("Application", app, `{"metadata":{"annotations":{"`+v1alpha1.AnnotationRollbackTo+`":""}}}`)
}
func (d *viaKubectl) hold(device string, to bool) {
	d.patch("Device", device, fmt.Sprintf(`{"spec":{"hold":%v}}`, to))
}
func (d *viaKubectl) stop(app string, spec map[string]any) {
	s := d.spec(spec)
	s["state"] = "Stopped"
	d.apply("Application", app, nil, s)
}
func (d *viaKubectl) remove(device string) {
	if d.kubectl != "" {
		d.do(nil, "delete", "device", device, "--wait=false")
		return
	}
	if err := d.dyn.Resource(resource("Device")).Namespace(ns).Delete(d.p.ctx(), device, metav1.DeleteOptions{}); err != nil {
		d.p.t.Fatal(err)
	}
}

// viaEvent posts CloudEvents to the API's /events, each of them twice, as those do who did not hear the answer.
type viaEvent struct {
	p *platform
	n int
}

func (d *viaEvent) name() string { return "via-event" }

func (d *viaEvent) post(typ string, data any) {
	p := d.p
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, "token"))
	if err != nil {
		p.t.Fatal(err)
	}
	d.n++
	e, err := event.New(typ, "/ci/build", "", fmt.Sprintf("build-%d", d.n), data)
	if err != nil {
		p.t.Fatal(err)
	}
	body, err := json.Marshal(e)
	if err != nil {
		p.t.Fatal(err)
	}
	for range 2 {
		req, err := http.NewRequestWithContext(p.ctx(), http.MethodPost, "http://"+p.at.API+"/api/v1/namespaces/"+ns+"/events", bytes.NewReader(body))
		if err != nil {
			p.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(b)))
		req.Header.Set("Content-Type", "application/cloudevents+json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			p.t.Fatal(err)
		}
		said, _ := io.ReadAll(resp.Body) // for the message
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			p.t.Fatalf("%s: %s\n%s", typ, resp.Status, said)
		}
	}
}

func (d *viaEvent) create(string) {}
func (d *viaEvent) remove(string) {}
func (d *viaEvent) approve(devices ...string) {
	d.post(event.DeviceActionRequested, event.DeviceAction{Devices: devices, Action: event.ActionApprove})
}
func (d *viaEvent) deploy(app string, spec map[string]any) {
	b, err := json.Marshal(spec)
	if err != nil {
		d.p.t.Fatal(err)
	}
	d.post(event.DeployRequested, event.DeployRequest{Application: app, Spec: b})
}
func (d *viaEvent) update(app string, _ map[string]any, module string) {
	d.post(event.DeployRequested, event.DeployRequest{Application: app, Module: module})
}
func (d *viaEvent) pause(app string, to bool) {
	d.post(event.ApplicationActionRequested, event.ApplicationAction{Application: app, Action: map[bool]string{true: event.ActionPause, false: event.ActionResume}[to]})
}
func (d *viaEvent) rollback(app string) {
	d.post(event.RollbackRequested, event.RollbackRequest{Application: app})
}
func (d *viaEvent) hold(device string, to bool) {
	d.post(event.DeviceActionRequested, event.DeviceAction{Devices: []string{device}, Action: map[bool]string{true: event.ActionHold, false: event.ActionRelease}[to]})
}
func (d *viaEvent) stop(app string, _ map[string]any) {
	d.post(event.ApplicationActionRequested, event.ApplicationAction{Application: app, Action: event.ActionStop})
}
