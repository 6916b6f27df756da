package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/clientcmd"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/ports"
)

// patience is the ceiling of every wait: generous, because the figures belong to the benchmarks.
const patience = 90 * time.Second

const ns = "default"

// endpoints is what standalone writes to endpoints.json.
type endpoints struct {
	Dashboard, API, HTTP, TLS, Kubernetes, Kubeconfig, Broker, Functions, Redis, Address string
}

// platform is one standalone in a folder of its own.
type platform struct {
	t    *testing.T
	bin  string
	dir  string
	args []string
	env  []string
	main *process
	at   endpoints

	parts       map[string]*process // left out of standalone and run beside it
	functionsAt string              // where the functions listen when they are apart
	answers     *lossy              // between the broker and them

	kube *client.Set
	led  *ledger.Ledger
	rdb  *redis.Client
}

// process is a command that was started and can be killed.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}
	log  string
}

// binaries returns the folder of the built commands, and fails with the mend when they are not there.
func binaries(t *testing.T) string {
	t.Helper()
	bin := os.Getenv("WASMBED_TEST_BIN")
	if bin == "" {
		bin = "../../../bin"
	}
	bin, err := filepath.Abs(bin)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"standalone", "kubeapi", "gateway", "functions", "broker", "device", "wasmbed"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			t.Fatalf("%v: make build makes it, WASMBED_TEST_BIN says where it is", err)
		}
	}
	return bin
}

// boot starts a standalone without sample and without devices. The parts that are named run as processes of
// their own, so that they can be killed: p.parts has them, and p.part starts one again. A gateway that is left
// out is the test's to start.
func boot(t *testing.T, apart ...string) *platform {
	t.Helper()
	p := newPlatform(t, append([]string{"devices"}, apart...)...)
	p.env = append(p.env, "WASMBED_SAMPLE=false")
	p.start(apart...)
	return p
}

// part runs one part of the platform as a process of its own.
func (p *platform) part(name string) {
	p.t.Helper()
	p.parts[name] = p.spawn("part-"+name, filepath.Join(p.bin, "standalone"), p.env, "part", name)
}

func newPlatform(t *testing.T, without ...string) *platform {
	t.Helper()
	p := &platform{t: t, bin: binaries(t), parts: map[string]*process{}, dir: filepath.Join(t.TempDir(), "state")}
	if len(without) > 0 {
		p.args = []string{"--without", strings.Join(without, ",")}
	}
	p.env = append(os.Environ(), "WASMBED_DIR="+p.dir, "WASMBED_PAIRING=1h")
	for _, l := range []string{"DASHBOARD", "API", "HTTP", "TLS", "KUBERNETES", "BROKER", "FUNCTIONS", "REDIS"} {
		p.env = append(p.env, "WASMBED_LISTEN_"+l+"=127.0.0.1:0")
	}
	return p
}

// start starts the platform, or starts it again in the same folder, and waits until it says that it is ready.
func (p *platform) start(apart ...string) {
	p.t.Helper()
	p.main = p.spawn("standalone", filepath.Join(p.bin, "standalone"), p.env, p.args...)
	if len(apart) > 0 {
		p.until("standalone has chosen its ports", func() error {
			_, err := os.Stat(filepath.Join(p.dir, "endpoints.json"))
			return err
		})
	}
	for _, name := range apart {
		if name != "gateway" && name != "functions" {
			p.part(name)
		}
	}
	for _, name := range apart {
		if name == "functions" {
			p.until("there is a kubeconfig", func() error {
				_, err := os.Stat(filepath.Join(p.dir, "kubeconfig"))
				return err
			})
			p.functions()
		}
	}
	p.until("standalone is ready", func() error {
		select {
		case <-p.main.done:
			p.t.Fatalf("standalone ended:\n%s", p.main.tail())
		default:
		}
		b, err := os.ReadFile(p.main.log)
		if err == nil && !bytes.Contains(b, []byte("Wasmbed is ready")) {
			err = fmt.Errorf("not yet")
		}
		return err
	})
	p.connect()
}

// functions starts the functions as a process of its own, on a port of its own: what stands at the port that the
// broker knows is the test's.
func (p *platform) functions() {
	p.t.Helper()
	if p.functionsAt == "" {
		p.functionsAt = freeAddress(p.t)
		p.endpoints()
		p.answers = newLossy(p.t, p.at.Functions, p.functionsAt)
	}
	p.parts["functions"] = p.spawn("functions", filepath.Join(p.bin, "functions"), append(os.Environ(), "WASMBED_LISTEN="+p.functionsAt,
		"WASMBED_REDIS_URL="+p.at.Redis, "WASMBED_SINK=http://"+p.at.Broker+"/", "WASMBED_KUBECONFIG="+filepath.Join(p.dir, "kubeconfig"), "KUBECONFIG="+filepath.Join(p.dir, "kubeconfig")))
}

func (p *platform) endpoints() {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, "endpoints.json"))
	if err == nil {
		err = json.Unmarshal(b, &p.at)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *platform) connect() {
	p.t.Helper()
	p.endpoints()
	cfg, err := clientcmd.BuildConfigFromFlags("", filepath.Join(p.dir, "kubeconfig"))
	if err != nil {
		p.t.Fatal(err)
	}
	if p.kube, err = client.New(cfg); err != nil {
		p.t.Fatal(err)
	}
	o, err := redis.ParseURL(p.at.Redis)
	if err != nil {
		p.t.Fatal(err)
	}
	p.rdb = redis.NewClient(o)
	p.t.Cleanup(func() { p.rdb.Close() })
	p.led = ledger.New(p.rdb, ledger.Options{})
}

// spawn starts a process whose output goes to a log; it is killed when the test ends.
func (p *platform) spawn(name, path string, env []string, args ...string) *process {
	p.t.Helper()
	log := filepath.Join(filepath.Dir(p.dir), name+".log")
	f, err := os.Create(log)
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	f.Close()
	pr := &process{name: name, cmd: cmd, done: make(chan struct{}), log: log}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(pr.done)
	}()
	p.t.Cleanup(func() {
		if p.t.Failed() {
			p.t.Logf("log of %s:\n%s", name, pr.tail())
		}
		if name == "standalone" {
			pr.end(p.t)
			return
		}
		pr.kill()
	})
	return pr
}

func (pr *process) tail() string {
	b, err := os.ReadFile(pr.log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-6000):])
}

// kill is SIGKILL.
func (pr *process) kill() {
	_ = pr.cmd.Process.Kill() // it may have ended
	<-pr.done
}

// end is SIGTERM, and SIGKILL for what does not end within its time.
func (pr *process) end(t *testing.T) {
	_ = pr.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-pr.done:
	case <-time.After(30 * time.Second):
		t.Errorf("%s does not end at SIGTERM", pr.name)
		pr.kill()
	}
}

// gateway starts a gateway process beside the platform's own.
func (p *platform) gateway(instance string) (pr *process, address string) {
	p.t.Helper()
	address = freeAddress(p.t)
	pr = p.spawn("gateway-"+instance, filepath.Join(p.bin, "gateway"), append(os.Environ(),
		"WASMBED_NAMESPACE="+ns, "WASMBED_GATEWAY=default", "WASMBED_INSTANCE="+instance, "WASMBED_LISTEN_TLS="+address,
		"WASMBED_LISTEN_HTTP=127.0.0.1:0", "WASMBED_REDIS_URL="+p.at.Redis, "WASMBED_SINK=http://"+p.at.Broker+"/",
		"WASMBED_TLS_CERT="+filepath.Join(p.dir, "tls", "gateway.crt"), "WASMBED_TLS_KEY="+filepath.Join(p.dir, "tls", "gateway.key")))
	p.until("gateway "+instance+" listens", func() error {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			c.Close()
		}
		return err
	})
	return pr, address
}

// devices starts a process with n devices named name-0001 and so on (or name, when n is 1).
func (p *platform) devices(name string, n int, address string) *process {
	p.t.Helper()
	return p.spawn("device-"+name, filepath.Join(p.bin, "device"), append(os.Environ(),
		"WASMBED_DEVICE_GATEWAY="+address, "WASMBED_DEVICE_SERVER_NAME=localhost", "WASMBED_DEVICE_TRUST="+filepath.Join(p.dir, "trust.pem"),
		"WASMBED_DEVICE_DIR="+filepath.Join(filepath.Dir(p.dir), "devices-"+name), "WASMBED_DEVICE_NAME="+name,
		"WASMBED_DEVICE_BOARD=Mps2An385", fmt.Sprintf("WASMBED_DEVICE_COUNT=%d", n)))
}

func names(name string, n int) []string {
	if n == 1 {
		return []string{name}
	}
	var out []string
	for i := 1; i <= n; i++ {
		out = append(out, fmt.Sprintf("%s-%04d", name, i))
	}
	return out
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := ports.Listen("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// until polls until fn returns nil, and fails with its last error when that takes too long.
func (p *platform) until(what string, fn func() error) { p.t.Helper(); until(p.t, what, fn) }

func until(t *testing.T, what string, fn func() error) {
	t.Helper()
	end := time.After(patience)
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for {
		err := fn()
		if err == nil {
			return
		}
		select {
		case <-end:
			t.Fatalf("%s: not so after %s: %v", what, patience, err)
		case <-tick.C:
		}
	}
}

func (p *platform) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	p.t.Cleanup(cancel)
	return ctx
}

// cli runs the command line and returns what it printed, and its exit code.
func (p *platform) cli(args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "wasmbed"), append([]string{"--state", p.dir}, args...)...)
	var out, errw bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errw
	err := cmd.Run()
	if ctx.Err() != nil {
		p.t.Fatalf("wasmbed %v hangs", args)
	}
	if err != nil && cmd.ProcessState == nil {
		p.t.Fatal(err)
	}
	return out.String(), errw.String(), cmd.ProcessState.ExitCode()
}

// cliUntil runs the command line until it has printed want.
func (p *platform) cliUntil(want string, args ...string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "wasmbed"), append([]string{"--state", p.dir}, args...)...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	var seen []byte
	buf := make([]byte, 4096)
	for {
		n, err := out.Read(buf)
		seen = append(seen, buf[:n]...)
		if bytes.Contains(seen, []byte(want)) {
			return
		}
		if err == io.EOF || err != nil {
			p.t.Fatalf("wasmbed %v did not print %q: %v\n%s", args, want, err, seen)
		}
	}
}

// module reads a sample module.
func module(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../../../firmware/modules/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// application makes an Application on all devices, quick: everything at once, a short trial.
func application(name string, wasm []byte, change ...func(*v1alpha1.ApplicationSpec)) *v1alpha1.Application {
	everything := intstr.FromString("100%")
	a := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	a.Spec.Module.Inline = wasm
	a.Spec.Targets.All = true
	a.Spec.Rollout.MaxUnavailable = &everything
	a.Spec.Manifest.Health.Window = &metav1.Duration{Duration: time.Second}
	a.Spec.Manifest.Permissions = []v1alpha1.Permission{"log", "clock", "telemetry", "kv", "timer"}
	a.Spec.Manifest.Timers = []v1alpha1.Timer{{ID: 1, Period: metav1.Duration{Duration: 300 * time.Millisecond}}}
	for _, c := range change {
		c(&a.Spec)
	}
	return a
}

// apply creates the application or gives it the spec.
func (p *platform) apply(a *v1alpha1.Application) *v1alpha1.Application {
	p.t.Helper()
	var made *v1alpha1.Application
	p.until("apply "+a.Name, func() error {
		have, err := p.kube.Applications.Get(p.ctx(), a.Namespace, a.Name)
		if errs.Is(err, errs.NotFound) {
			made, err = p.kube.Applications.Create(p.ctx(), a)
			return err
		}
		if err == nil {
			have.Spec = a.Spec
			made, err = p.kube.Applications.Update(p.ctx(), have)
		}
		return err
	})
	return made
}

func (p *platform) app(name string) (*v1alpha1.Application, error) {
	return p.kube.Applications.Get(p.ctx(), ns, name)
}

func condition(cs []metav1.Condition, kind string) metav1.Condition {
	for _, c := range cs {
		if c.Type == kind {
			return c
		}
	}
	return metav1.Condition{Type: kind, Status: metav1.ConditionUnknown}
}

// ready waits until the application is Ready on n devices, for the generation that it has.
func (p *platform) ready(name string, n int) *v1alpha1.Application {
	p.t.Helper()
	var a *v1alpha1.Application
	p.until(fmt.Sprintf("%s ready on %d", name, n), func() (err error) {
		if a, err = p.app(name); err != nil {
			return err
		}
		c := condition(a.Status.Conditions, "Ready")
		if c.Status != metav1.ConditionTrue || a.Status.ObservedGeneration != a.Generation || int(a.Status.Ready) != n {
			return fmt.Errorf("Ready=%s (%s: %s), generation %d of %d, %d of %d ready", c.Status, c.Reason, c.Message, a.Status.ObservedGeneration, a.Generation, a.Status.Ready, a.Status.Desired)
		}
		return nil
	})
	return a
}

func (p *platform) view(name string) (ledger.DeviceView, error) {
	return p.led.Device(p.ctx(), event.Device{Namespace: ns, Name: name})
}

// online waits until all of the devices have a session.
func (p *platform) online(names ...string) {
	p.t.Helper()
	for _, n := range names {
		p.until(n+" is online", func() error {
			v, err := p.view(n)
			if err == nil && !(v.Online && v.Known) {
				err = fmt.Errorf("online %v, known %v", v.Online, v.Known)
			}
			return err
		})
	}
}

// on returns what a device said of an application.
func on(v ledger.DeviceView, app string) event.AppState {
	for _, a := range v.Apps {
		if a.App == app && a.Reported != nil {
			return *a.Reported
		}
	}
	return event.AppState{}
}
