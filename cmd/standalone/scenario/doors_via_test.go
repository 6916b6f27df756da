package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
)

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
