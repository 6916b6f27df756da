package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
)

func emulating(t *testing.T, emulation string) *platform {
	t.Helper()
	st := &state{dir: t.TempDir()}
	return &platform{cfg: &Config{Emulation: emulation, Firmware: filepath.Join(st.dir, "firmware")}, state: st, log: slog.New(slog.DiscardHandler),
		ends: endpoints{Namespace: namespace}}
}

func (p *platform) firmware(t *testing.T, images ...string) {
	t.Helper()
	if err := os.MkdirAll(p.cfg.Firmware, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, i := range images {
		if err := os.WriteFile(filepath.Join(p.cfg.Firmware, i), []byte("\x7fELF"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEmulatedBoards(t *testing.T) {
	for emulation, want := range map[string]string{
		"":            "",
		"qemu":        "qemu-ethernet Mps2An385.elf Ethernet, qemu-serial Mps2An385-serial.elf Serial",
		"renode":      "renode-serial Stm32F746gDisco.elf Serial",
		"renode,qemu": "renode-serial Stm32F746gDisco.elf Serial, qemu-ethernet Mps2An385.elf Ethernet, qemu-serial Mps2An385-serial.elf Serial",
	} {
		var got []string
		for _, b := range (&Config{Emulation: emulation}).emulatedBoards() {
			got = append(got, b.name+" "+b.image+" "+b.transport)
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%q: %v", emulation, got)
		}
	}
	if err := (&Config{Dir: "x", Emulation: "vmware"}).check(); err == nil || !strings.Contains(err.Error(), "WASMBED_EMULATION") {
		t.Error(err)
	}
}

// Devices are made once, when their firmware is there; until then one line says how to build it.
func TestEmulatedDevicesAreSeededOnce(t *testing.T) {
	p, set := emulating(t, "qemu"), client.NewMemory()
	names := func() []string {
		t.Helper()
		if err := p.seedEmulated(t.Context(), set); err != nil {
			t.Fatal(err)
		}
		all, _, err := set.Devices.List(t.Context(), namespace, client.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, d := range all {
			out = append(out, d.Name)
		}
		return out
	}
	if got := names(); len(got) != 0 {
		t.Errorf("without firmware: %v", got)
	}
	lacking := p.lacking()
	if len(lacking) != 2 || !strings.Contains(lacking[0], "make firmware BOARD=Mps2An385 builds it (needs ZEPHYR_BASE and WAMR_ROOT_DIR)") ||
		!strings.Contains(lacking[1], "make firmware BOARD=Mps2An385 TRANSPORT=serial") {
		t.Errorf("%q", lacking)
	}
	p.firmware(t, "Mps2An385.elf")
	if got := names(); !slices.Equal(got, []string{"qemu-ethernet"}) || len(p.lacking()) != 1 {
		t.Errorf("with one image: %v, %q", got, p.lacking())
	}
	p.firmware(t, "Mps2An385-serial.elf")
	if got := names(); !slices.Equal(got, []string{"qemu-ethernet", "qemu-serial"}) || len(p.lacking()) != 0 {
		t.Errorf("with both: %v, %q", got, p.lacking())
	}
	d, err := set.Devices.Get(t.Context(), namespace, "qemu-serial")
	if err != nil || d.Spec.Approval != v1alpha1.ApprovalApproved || *d.Spec.Emulation != (v1alpha1.Emulation{Backend: "qemu", Transport: "Serial", State: "Running"}) {
		t.Errorf("%+v, %v", d.Spec, err)
	}
	if err := set.Devices.Delete(t.Context(), namespace, "qemu-ethernet"); err != nil {
		t.Fatal(err)
	}
	if got := names(); !slices.Equal(got, []string{"qemu-serial"}) {
		t.Errorf("who deletes one finds it again: %v", got)
	}

	// What is waited for at a start.
	if names, wrong := p.emulated(t.Context(), set); !slices.Equal(names, []string{"qemu-serial"}) || len(wrong) != 0 {
		t.Errorf("%v %v", names, wrong)
	}
	d.Status.Board = &v1alpha1.BoardStatus{Phase: v1alpha1.BoardFailed, Reason: "BackendMissing"}
	if d, err = set.Devices.UpdateStatus(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if names, wrong := p.emulated(t.Context(), set); len(names) != 0 || len(wrong) != 1 || !strings.Contains(wrong[0], "BackendMissing") {
		t.Errorf("%v %v", names, wrong)
	}
	d.Spec.Emulation.State = v1alpha1.EmulationStopped
	if _, err = set.Devices.Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if names, wrong := p.emulated(t.Context(), set); len(names)+len(wrong) != 0 {
		t.Errorf("a stopped one: %v %v", names, wrong)
	}
}

// The provisioner gets its own account and no other.
func TestProvisionerKubeconfig(t *testing.T) {
	p := emulating(t, "")
	if err := os.MkdirAll(p.state.path(partKube), 0o700); err != nil {
		t.Fatal(err)
	}
	all := clientcmdapi.NewConfig()
	all.Clusters["wasmbed"] = &clientcmdapi.Cluster{Server: "https://127.0.0.1:1"}
	for _, u := range []string{"admin", "wasmbed-enroll", provisionerAccount} {
		all.AuthInfos[u] = &clientcmdapi.AuthInfo{Token: "token of " + u}
		all.Contexts[u] = &clientcmdapi.Context{Cluster: "wasmbed", AuthInfo: u}
	}
	if err := clientcmd.WriteToFile(*all, p.state.path(partKube, "kubeconfig")); err != nil {
		t.Fatal(err)
	}
	if err := p.provisionerKubeconfig(); err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", p.state.path(provisionerKubeFile))
	if err != nil || cfg.BearerToken != "token of "+provisionerAccount {
		t.Errorf("%+v, %v", cfg, err)
	}
	if b := p.state.read(provisionerKubeFile); strings.Contains(b, "admin") || strings.Contains(b, "enroll") {
		t.Error(b)
	}
	if st, err := os.Stat(p.state.path(provisionerKubeFile)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st, err)
	}
}

func TestBoardTable(t *testing.T) {
	rows := boardTable()
	if len(rows) < 13 {
		t.Fatalf("%d boards", len(rows))
	}
	for _, r := range rows {
		if r.Name == "" || r.CPU == "" || len(r.Transports) == 0 || r.Truth == "" {
			t.Errorf("%+v", r)
		}
	}
}
