package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/functions/api"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

const (
	provisionerAccount    = "wasmbed-provisioner"
	provisionerTokenFile  = "provisioner-token"
	provisionerKubeFile   = "provisioner.kubeconfig"
	emulatedFile          = "emulated" // names of the emulated devices that were made, one a line
	provisionerGrace      = 2 * time.Second
	emulationWatchRetry   = time.Second
	emulationFirstRequest = "spec.emulation.backend!=" // a selectable field of Devices
)

// emulatedBoard is an emulated device that is made at the first start.
type emulatedBoard struct {
	name, board, backend, transport, image string
	build                                  string // the command that makes the image
}

// emulatedBoards are the devices of EMULATION: on QEMU one with a network controller and one without, on Renode one
// without.
func (c *Config) emulatedBoards() []emulatedBoard {
	var out []emulatedBoard
	add := func(name, board, backend string, t provisioner.Transport) {
		b, ok := provisioner.BoardNamed(board)
		if !ok {
			return
		}
		e := emulatedBoard{name: name, board: board, backend: backend, image: provisioner.ImageName(b, t), build: "make firmware BOARD=" + board}
		e.transport = transportWord(t)
		if t != b.Transport {
			e.build += " TRANSPORT=" + string(t)
		}
		out = append(out, e)
	}
	for _, backend := range c.emulation() {
		switch backend {
		case v1alpha1.BackendQEMU:
			add("qemu-ethernet", "Mps2An385", backend, provisioner.Ethernet)
			add("qemu-serial", "Mps2An385", backend, provisioner.Serial)
		case v1alpha1.BackendRenode:
			add("renode-serial", "Stm32F746gDisco", backend, provisioner.Serial)
		}
	}
	return out
}

// emulation returns the backends of EMULATION.
func (c *Config) emulation() []string {
	var out []string
	for _, b := range strings.Split(c.Emulation, ",") {
		if b = strings.TrimSpace(b); b != "" {
			out = append(out, b)
		}
	}
	return out
}

// boardTable is the table of boards as the REST API has it.
func boardTable() []api.Board {
	var out []api.Board
	for _, b := range provisioner.Boards() {
		row := api.Board{Name: b.Name, CPU: b.CPU, RAM: b.RAM, Flash: b.Flash, Zephyr: b.Zephyr, Renode: b.Renode, QEMU: b.QEMU,
			ModuleMemory: b.ModuleMemory, ModuleSize: b.ModuleSize, Refused: b.Refused, Truth: truth(b)}
		for _, t := range b.Transports() {
			row.Transports = append(row.Transports, transportWord(t))
		}
		for _, t := range b.Truth {
			row.Seen = append(row.Seen, api.Seen{Status: string(t.Status), Transport: transportWord(t.Transport), When: t.When, With: t.With, Test: t.Test, Note: t.Note})
		}
		out = append(out, row)
	}
	return out
}

// truth is the best that was seen of a board, in a few words.
func truth(b provisioner.Board) string {
	best := b.Best()
	i := slices.IndexFunc(b.Truth, func(t provisioner.Truth) bool { return t.Status == best })
	if i < 0 {
		return string(best)
	}
	t := b.Truth[i]
	out := string(best)
	for _, more := range []string{t.When, t.With} {
		if more != "" {
			out += ", " + more
		}
	}
	if best != provisioner.StatusRun && t.Note != "" {
		out += ": " + t.Note
	}
	return out
}

// transportWord is a transport as the API spells it.
func transportWord(t provisioner.Transport) string {
	switch t {
	case provisioner.Ethernet:
		return v1alpha1.TransportEthernet
	case provisioner.Serial:
		return v1alpha1.TransportSerial
	}
	return string(t)
}

// consoles returns the API's way to the provisioner, which need not run.
func (p *platform) consoles() (api.Console, error) {
	token, err := p.provisionerToken()
	if err != nil || p.ends.Provisioner == "" {
		return nil, err
	}
	return api.NewProvisionerConsole("http://"+p.ends.Provisioner, token)
}

// health are the parts that the API asks on behalf of others: the broker and, where emulated devices were asked for,
// the provisioner.
func (p *platform) health(c api.Console) map[string]func(context.Context) error {
	out := map[string]func(context.Context) error{partBroker: p.brokerHealth}
	if c != nil && (len(p.cfg.emulation()) > 0 || p.state.has(emulatedFile)) {
		out[partProvisioner] = c.Health
	}
	return out
}

// provisionerToken returns the token that opens the provisioner's consoles, made at the first start.
func (p *platform) provisionerToken() (string, error) {
	token := p.state.read(provisionerTokenFile)
	if token == "" {
		token = rand.Text()
		if err := p.state.write(provisionerTokenFile, []byte(token+"\n")); err != nil {
			return "", err
		}
	}
	return token, nil
}

// startProvisioner starts the provisioner: at once when emulated devices are asked for at the start, else when the
// first Device with an emulation is seen.
func (p *platform) startProvisioner(ctx context.Context, now bool) error {
	bin, err := p.cfg.program("provisioner")
	if err != nil && now {
		return err
	}
	if err != nil {
		bin = ""
	}
	process := &child{name: partProvisioner, grace: provisionerGrace, log: p.log, state: p.state, spawn: p.spawn,
		command: func() *exec.Cmd { return p.provisionerCommand(bin) }}
	p.runs.keep(ctx, partProvisioner, func(ctx context.Context) {
		if !now && p.waitForEmulated(ctx) != nil {
			return
		}
		if bin == "" {
			p.log.Error("a Device asks for emulation and there is no program provisioner; make build makes it")
			return
		}
		for err := p.provisionerKubeconfig(); err != nil; err = p.provisionerKubeconfig() {
			p.log.Debug("the provisioner waits for the Kubernetes API", "cause", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(emulationWatchRetry):
			}
		}
		p.release("provisioner")
		together(ctx, []*child{process})
	})
	return nil
}

func (p *platform) provisionerCommand(bin string) *exec.Cmd {
	cmd := exec.Command(bin)
	dir, err := filepath.Abs(p.cfg.Firmware)
	if err != nil {
		dir = p.cfg.Firmware
	}
	set := func(name, value string) { cmd.Env = append(cmd.Env, "WASMBED_PROVISIONER_"+name+"="+value) }
	cmd.Env = os.Environ()
	set("DIR", p.state.path("boards"))
	set("FIRMWARE", dir)
	set("GATEWAY", p.ends.Address)
	set("TRUST", p.state.path(trustFile))
	set("KUBECONFIG", p.state.path(provisionerKubeFile))
	set("SINK", p.ends.sink())
	set("LISTEN", p.ends.Provisioner)
	set("TOKEN", p.state.read(provisionerTokenFile))
	for name, value := range map[string]string{"ENGINE": v1alpha1.EngineProcess, "ON_EXIT": "stop"} { // Ctrl-C stops everything
		if _, ok := os.LookupEnv("WASMBED_PROVISIONER_" + name); !ok {
			set(name, value)
		}
	}
	return cmd
}

// provisionerKubeconfig leaves the provisioner a kubeconfig with its own account in it and no other.
func (p *platform) provisionerKubeconfig() error {
	all, err := clientcmd.LoadFromFile(p.state.path(partKube, "kubeconfig"))
	if err != nil {
		return errs.New(errs.Internal, "kubeconfig: %w", err)
	}
	own, ok := all.Contexts[provisionerAccount]
	if !ok {
		return errs.New(errs.Internal, "the Kubernetes API has no account %s", provisionerAccount)
	}
	for name := range all.Contexts {
		if name != provisionerAccount {
			delete(all.Contexts, name)
		}
	}
	for name := range all.AuthInfos {
		if name != own.AuthInfo {
			delete(all.AuthInfos, name)
		}
	}
	all.CurrentContext = provisionerAccount
	b, err := clientcmd.Write(*all)
	if err != nil {
		return errs.New(errs.Internal, "kubeconfig: %w", err)
	}
	return p.state.write(provisionerKubeFile, b)
}

// waitForEmulated returns when there is a Device with an emulation. The API server sends those alone: a fleet
// without them costs nothing here.
func (p *platform) waitForEmulated(ctx context.Context) error {
	for {
		found, err := p.watchForEmulated(ctx)
		if found {
			return nil
		}
		if err != nil {
			p.log.Debug("Devices with an emulation cannot be watched", "cause", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(emulationWatchRetry):
		}
	}
}

func (p *platform) watchForEmulated(ctx context.Context) (bool, error) {
	cfg, err := p.account(provisionerAccount)
	if err != nil {
		return false, err
	}
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return false, err
	}
	devices := dyn.Resource(v1alpha1.GroupVersion.WithResource("devices"))
	list, err := devices.List(ctx, metav1.ListOptions{FieldSelector: emulationFirstRequest, Limit: 1})
	if err != nil || len(list.Items) > 0 {
		return err == nil, err
	}
	w, err := devices.Watch(ctx, metav1.ListOptions{FieldSelector: emulationFirstRequest, ResourceVersion: list.GetResourceVersion()})
	if err != nil {
		return false, err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		switch e.Type {
		case watch.Added, watch.Modified:
			return true, nil
		case watch.Error:
			return false, errors.New("the watch ended")
		}
	}
	return false, nil
}

// seedEmulated makes the Devices of EMULATION, each once in the life of the state folder: who deletes one does not
// find it again. Those whose firmware is not there are left for the next start.
func (p *platform) seedEmulated(ctx context.Context, set *client.Set) error {
	boards := p.cfg.emulatedBoards()
	if len(boards) == 0 {
		return nil
	}
	made := strings.Fields(p.state.read(emulatedFile))
	for _, b := range boards {
		if slices.Contains(made, b.name) || p.lacks(b) != "" {
			continue
		}
		_, err := set.Devices.Create(ctx, &v1alpha1.Device{
			ObjectMeta: metav1.ObjectMeta{Namespace: p.ends.Namespace, Name: b.name, Labels: map[string]string{v1alpha1.LabelBoard: b.board}},
			Spec: v1alpha1.DeviceSpec{Board: b.board, Approval: v1alpha1.ApprovalApproved,
				Emulation: &v1alpha1.Emulation{Backend: b.backend, Transport: b.transport}},
		})
		if err != nil && !errs.Is(err, errs.AlreadyExists) {
			return err
		}
		made = append(made, b.name)
		if err := p.state.write(emulatedFile, []byte(strings.Join(made, "\n")+"\n")); err != nil {
			return err
		}
	}
	return nil
}

// lacks says what is missing for a board, "" when nothing is.
func (p *platform) lacks(b emulatedBoard) string {
	if _, err := os.Stat(filepath.Join(p.cfg.Firmware, b.image)); err != nil {
		return fmt.Sprintf("%s: there is no firmware %s; %s builds it (needs ZEPHYR_BASE and WAMR_ROOT_DIR)",
			b.name, filepath.Join(p.cfg.Firmware, b.image), b.build)
	}
	return ""
}

// lacking says which emulated devices were asked for and are left out, and why.
func (p *platform) lacking() []string {
	var out []string
	made := strings.Fields(p.state.read(emulatedFile))
	for _, b := range p.cfg.emulatedBoards() {
		if why := p.lacks(b); why != "" && !slices.Contains(made, b.name) {
			out = append(out, why)
		}
	}
	return out
}

// emulated returns the Devices whose boards should be online after a start, and what is not as it should be with the
// others.
func (p *platform) emulated(ctx context.Context, set *client.Set) (names, wrong []string) {
	for _, name := range strings.Fields(p.state.read(emulatedFile)) {
		d, err := set.Devices.Get(ctx, p.ends.Namespace, name)
		switch {
		case errs.Is(err, errs.NotFound): // somebody deleted it: that is no fault
		case err != nil:
			wrong = append(wrong, fmt.Sprintf("device %s: %v", name, err))
		case d.Spec.Emulation == nil || d.Spec.Emulation.State == v1alpha1.EmulationStopped:
		case d.Status.Board != nil && d.Status.Board.Phase == v1alpha1.BoardFailed:
			wrong = append(wrong, fmt.Sprintf("the board of device %s failed: %s %s", name, d.Status.Board.Reason, d.Status.Board.Message))
		default:
			names = append(names, name)
		}
	}
	return names, wrong
}
