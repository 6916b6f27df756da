package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kelseyhightower/envconfig"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/apply"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/run"
	"wasmbed.io/wasmbed/internal/testkube"
)

// The test's own program is the provisioner, when it is told so.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_PROVISIONER") != "" {
		os.Args = os.Args[:1]
		main()
		return
	}
	os.Exit(m.Run())
}

func TestManual(t *testing.T) {
	var out strings.Builder
	if code := run.Main("provisioner", "about", []string{"--help"}, &out, &Config{}, serve); code != 0 {
		t.Fatalf("code %d", code)
	}
	for _, name := range []string{"ENGINE", "DIR", "FIRMWARE", "GATEWAY", "TRUST", "KUBECONFIG", "SINK", "LISTEN", "TOKEN", "ON_EXIT", "NAMESPACE"} {
		if !strings.Contains(out.String(), "WASMBED_PROVISIONER_"+name+" ") && !strings.Contains(out.String(), "WASMBED_PROVISIONER_"+name+"\n") {
			t.Errorf("WASMBED_PROVISIONER_%s is not in the manual", name)
		}
	}
}

func anchor(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "trust.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBadSettings(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := map[string]string{"GATEWAY": "127.0.0.1:8081", "TRUST": anchor(t), "SINK": "http://127.0.0.1:1", "KUBECONFIG": empty, "DIR": t.TempDir()}
	for name, change := range map[string]map[string]string{
		"no sink": {"SINK": ""}, "on exit": {"ON_EXIT": "burn"}, "no trust": {"TRUST": "/nowhere"}, "empty trust": {"TRUST": empty}, "kubeconfig": {"KUBECONFIG": "/nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("K_SINK", "")
			for k, v := range good {
				t.Setenv("WASMBED_PROVISIONER_"+k, v)
			}
			for k, v := range change {
				t.Setenv("WASMBED_PROVISIONER_"+k, v)
			}
			var c Config
			if err := envconfig.Process(run.Prefix, &c); err != nil {
				t.Fatal(err)
			}
			if err := serve(t.Context(), &c, run.Logger(io.Discard, "test")); !errs.Is(err, errs.Invalid) && !errs.Is(err, errs.Unavailable) {
				t.Errorf("%v", err)
			}
		})
	}
}

// place is a platform around a real provisioner: a real Kubernetes API, a broker that writes statuses, a gateway that
// listens.
type place struct {
	t     *testing.T
	kube  *testkube.Server
	set   *client.Set
	dir   string
	env   []string
	url   string
	hello chan string
	cmd   *exec.Cmd

	mu   sync.Mutex
	said int
}

const token = "secret"

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{t: t, kube: testkube.Start(t), dir: t.TempDir(), hello: make(chan string, 100)}
	var err error
	if p.set, err = client.New(p.kube.Config); err != nil {
		t.Fatal(err)
	}
	// It gets no more rights than on a cluster.
	a, err := apply.New(p.kube.Config)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := apply.Files(os.DirFS(filepath.Join(testkube.Root(t), "config")), "rbac")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(t.Context(), objects...); err != nil {
		t.Fatal(err)
	}
	ns, err := apply.Decode([]byte(`{apiVersion: v1, kind: Namespace, metadata: {name: plant}}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(t.Context(), ns...); err != nil {
		t.Fatal(err)
	}
	all, err := clientcmd.LoadFromFile(p.kube.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	all.CurrentContext = "wasmbed-provisioner"
	kubeconfig := filepath.Join(p.dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*all, kubeconfig); err != nil {
		t.Fatal(err)
	}
	broker := httptest.NewServer(http.HandlerFunc(p.broker))
	t.Cleanup(broker.Close)
	gateway, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { gateway.Close() })
	go func() {
		for {
			c, err := gateway.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewScanner(c)
				for in.Scan() {
					if strings.HasPrefix(in.Text(), "hello ") { // others speak TLS
						p.hello <- in.Text()
					}
				}
			}()
		}
	}()
	bin := filepath.Join(p.dir, "device")
	if out, err := exec.Command("go", "build", "-o", bin, "wasmbed.io/wasmbed/cmd/device").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, value := range map[string]string{
		"DIR": filepath.Join(p.dir, "state"), "FIRMWARE": filepath.Join(p.dir, "firmware"), "GATEWAY": gateway.Addr().String(), "TRUST": anchor(t),
		"KUBECONFIG": kubeconfig, "SINK": broker.URL, "TOKEN": token, "DEVICE": bin, "ENGINE": "process", "INSTANCE": "pv-1",
	} {
		p.env = append(p.env, "WASMBED_PROVISIONER_"+name+"="+value)
	}
	return p
}

// broker takes events and is functions/board at once.
func (p *place) broker(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("ce-type") != event.BoardChangedType {
		http.Error(w, "what is this?", http.StatusBadRequest)
		return
	}
	b, err := io.ReadAll(r.Body)
	var c event.BoardChanged
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said++
	for range 20 {
		d, err := p.set.Devices.Get(r.Context(), c.Device.Namespace, c.Device.Name)
		if err != nil {
			break
		}
		since := metav1.NewTime(c.Since)
		d.Status.Board = &v1alpha1.BoardStatus{Phase: c.Phase, Backend: c.Backend, Engine: c.Engine, Transport: c.Transport, Endpoint: c.Endpoint, Instance: c.Instance, Image: c.Image,
			Resets: c.Resets, PowerCuts: c.PowerCuts, Restarts: c.Restarts, Reason: c.Reason, Message: c.Message, Since: &since, ObservedGeneration: c.Generation, Sequence: c.Sequence}
		if _, err = p.set.Devices.UpdateStatus(r.Context(), d); !errs.Is(err, errs.Conflict) {
			if err != nil {
				p.t.Errorf("status of %s: %v", c.Device, err)
			}
			break
		}
	}
	w.WriteHeader(http.StatusAccepted)
}

// start starts the provisioner's process.
func (p *place) start(onExit string) {
	p.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	p.cmd = exec.Command(self)
	p.cmd.Env = append(os.Environ(), append(p.env, "RUN_PROVISIONER=1", "WASMBED_PROVISIONER_ON_EXIT="+onExit, "WASMBED_PROVISIONER_LISTEN="+address)...)
	p.cmd.Stderr = p.t.Output()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.url = "http://" + address
	p.eventually("readiness", func() bool {
		resp, err := http.Get(p.url + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func (p *place) end(s syscall.Signal) {
	p.t.Helper()
	if p.cmd == nil {
		return
	}
	p.cmd.Process.Signal(s)
	err := p.cmd.Wait()
	if s == syscall.SIGTERM && err != nil {
		p.t.Errorf("the provisioner ended with %v", err)
	}
	p.cmd = nil
}

func (p *place) eventually(what string, ok func() bool) {
	p.t.Helper()
	for end := time.Now().Add(90 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("no %s", what)
		}
	}
}

func (p *place) board(name string) v1alpha1.BoardStatus {
	d, err := p.set.Devices.Get(context.Background(), "plant", name)
	if err != nil || d.Status.Board == nil {
		return v1alpha1.BoardStatus{}
	}
	return *d.Status.Board
}

func (p *place) phase(name, phase string, also ...func(v1alpha1.BoardStatus) bool) v1alpha1.BoardStatus {
	p.t.Helper()
	var b v1alpha1.BoardStatus
	p.eventually(name+" "+phase, func() bool {
		b = p.board(name)
		return b.Phase == phase && (len(also) == 0 || also[0](b))
	})
	return b
}

func (p *place) create(name string, e v1alpha1.Emulation) {
	p.t.Helper()
	d := &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: name}, Spec: v1alpha1.DeviceSpec{Board: "Mps2An385", Approval: v1alpha1.ApprovalApproved, Emulation: &e}}
	if _, err := p.set.Devices.Create(p.t.Context(), d); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) edit(name string, change func(*v1alpha1.Emulation)) {
	p.t.Helper()
	p.eventually("edit", func() bool {
		d, err := p.set.Devices.Get(p.t.Context(), "plant", name)
		if err != nil {
			p.t.Fatal(err)
		}
		change(d.Spec.Emulation)
		_, err = p.set.Devices.Update(p.t.Context(), d)
		return err == nil
	})
}

// programs counts the board's processes: those that hold its token.
func (p *place) programs(name string) int {
	dir := filepath.Join(p.dir, "state", "boards", "plant", name)
	n := 0
	all, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range all {
		if to, err := os.Readlink(link); err == nil && to == dir {
			n++
		}
	}
	return n
}

func (p *place) console(name, query string) string {
	r, err := http.NewRequest(http.MethodGet, p.url+"/console/plant/"+name+query, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

// The whole with real processes: host devices everywhere, QEMU where it is.
func TestProvisionerProcess(t *testing.T) {
	p := newPlace(t)
	defer func() {
		for _, path := range []string{"pump", "wire"} { // whatever happened, nothing stays
			if pid, err := strconv.Atoi(p.board(path).Instance); err == nil && p.programs(path) > 0 {
				syscall.Kill(-pid, syscall.SIGKILL)
			}
		}
	}()
	defer p.end(syscall.SIGKILL)
	qemu := p.images()
	p.start(onExitKeep)
	p.create("pump", v1alpha1.Emulation{Backend: "host"})
	names := []string{"pump"}
	if qemu {
		names = append(names, "wire")
		begun := time.Now()
		p.create("wire", v1alpha1.Emulation{Backend: "qemu", Transport: "Serial"})
		p.says("hello wire 1")
		t.Logf("from kubectl apply to the board's first word at the gateway: %s", time.Since(begun).Round(time.Millisecond))
	}
	before := map[string]string{}
	for _, name := range names {
		before[name] = p.phase(name, "Booted").Instance
		d, err := p.set.Devices.Get(t.Context(), "plant", name)
		if err != nil || d.Spec.Identity == nil || d.Spec.Identity.ClaimDigest == "" {
			t.Errorf("%s has no claim: %v", name, err)
		}
	}
	if said := p.console("pump", ""); !strings.Contains(said, "msg=started") {
		t.Errorf("console: %q", said)
	}

	// Killed: the boards go on, and the next one takes over the same processes.
	p.end(syscall.SIGKILL)
	for _, name := range names {
		if n := p.programs(name); n != 1 {
			t.Errorf("%d programs of %s without a provisioner", n, name)
		}
	}
	p.start(onExitKeep)
	if qemu {
		p.says("hello wire 1") // the line is bridged again, by the same boot
		p.edit("wire", func(e *v1alpha1.Emulation) { e.Resets++ })
		p.says("hello wire 2")
		p.phase("wire", "Booted", func(b v1alpha1.BoardStatus) bool { return b.Resets == 1 })
	}
	for _, name := range names {
		if b := p.phase(name, "Booted"); b.Instance != before[name] || b.Restarts != 0 || p.programs(name) != 1 {
			t.Errorf("%s: %+v, was process %s; %d programs", name, b, before[name], p.programs(name))
		}
	}

	// A device killed behind its back while no provisioner runs: found, counted, started again.
	p.end(syscall.SIGTERM) // keep
	if said := p.console("pump", ""); strings.Contains(said, "msg=started") {
		t.Error("it still answers")
	}
	pid, err := strconv.Atoi(before["pump"])
	if err != nil {
		t.Fatal(err)
	}
	syscall.Kill(pid, syscall.SIGKILL)
	p.start(onExitStop)
	p.phase("pump", "Booted", func(b v1alpha1.BoardStatus) bool { return b.Instance != before["pump"] && b.Restarts == 1 })
	if said := p.console("pump", ""); strings.Count(said, "msg=started") < 2 { // what was kept over the provisioner's end, and the new
		t.Errorf("console: %q", said)
	}
	resp, err := http.Get(p.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	for _, want := range []string{`wasmbed_boards{phase="Booted"} ` + strconv.Itoa(len(names)), `wasmbed_board_memory_bytes{device="pump",namespace="plant"}`, "wasmbed_boards_start_seconds"} {
		if !bytes.Contains(metrics, []byte(want)) {
			t.Errorf("no %s in the metrics", want)
		}
	}

	// ON_EXIT=stop.
	p.end(syscall.SIGTERM)
	for _, name := range names {
		if n := p.programs(name); n != 0 {
			t.Errorf("%d programs of %s are left", n, name)
		}
	}
	p.start(onExitStop)
	for _, name := range names {
		p.phase(name, "Booted", func(b v1alpha1.BoardStatus) bool { return b.Instance != before[name] && p.programs(name) == 1 })
		if err := p.set.Devices.Delete(t.Context(), "plant", name); err != nil {
			t.Fatal(err)
		}
		p.eventually("end of "+name, func() bool {
			_, err := p.set.Devices.Get(t.Context(), "plant", name)
			return errs.Is(err, errs.NotFound)
		})
		if n := p.programs(name); n != 0 {
			t.Errorf("%d programs of %s are left", n, name)
		}
	}
	p.end(syscall.SIGTERM)
	if !qemu {
		fmt.Println("not run: no qemu-system-arm or arm-none-eabi-gcc, so no board was started in QEMU")
	}
}

// says waits for the serial board's next words at the gateway.
func (p *place) says(want string) {
	p.t.Helper()
	select {
	case got := <-p.hello:
		if got != want {
			p.t.Fatalf("the board said %q, want %q", got, want)
		}
	case <-time.After(90 * time.Second):
		p.t.Fatalf("the board did not say %q\n%s", want, p.console("wire", ""))
	}
}

// images builds the bare-metal test image; false: the tools for it are missing.
func (p *place) images() bool {
	p.t.Helper()
	for _, tool := range []string{"qemu-system-arm", "arm-none-eabi-gcc", "make"} {
		if _, err := exec.LookPath(tool); err != nil {
			return false
		}
	}
	out, err := exec.Command("make", "-C", filepath.Join(testkube.Root(p.t), "firmware", "tests"), "baremetal", "OUT="+filepath.Join(p.dir, "firmware"), "BUILD="+filepath.Join(p.dir, "build")).CombinedOutput()
	if err != nil {
		p.t.Fatalf("%v\n%s", err, out)
	}
	return true
}
