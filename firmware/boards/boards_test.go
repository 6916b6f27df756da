package boards_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// images are the emulated boards of this project, by backend.
var images = []struct{ board, transport, image, backend string }{
	{"Mps2An385", "Ethernet", "Mps2An385", "qemu"},
	{"Mps2An385", "Serial", "Mps2An385-serial", "qemu"},
	{"Mps2An386", "Ethernet", "Mps2An386", "qemu"},
	{"Mps2An386", "Serial", "Mps2An386-serial", "qemu"},
	{"Mps2An500", "Ethernet", "Mps2An500", "qemu"},
	{"Mps2An500", "Serial", "Mps2An500-serial", "qemu"},
	{"Mps2An505", "Ethernet", "Mps2An505", "qemu"},
	{"Mps2An505", "Serial", "Mps2An505-serial", "qemu"},
	{"Stm32F746gDisco", "Serial", "Stm32F746gDisco", "renode"},
	{"Stm32F4Disco", "Serial", "Stm32F4Disco", "renode"},
	{"RenodeStm32F4Discovery", "Serial", "RenodeStm32F4Discovery", "renode"},
	{"Nrf52840DK", "Serial", "Nrf52840DK", "renode"},
	{"RenodeArduinoNano33Ble", "Serial", "RenodeArduinoNano33Ble", "renode"},
	{"FrdmK64f", "Serial", "FrdmK64f-serial", "renode"},
	{"SamE70Xplained", "Serial", "SamE70Xplained-serial", "renode"},
	{"SamE70Xplained", "Ethernet", "SamE70Xplained", "renode"},
}

// TestBoardsRun boots an image, lets it enroll and run the sample Application, then presses reset and cuts the power: each
// time the same device must come back, with its key, and run the module that it kept.
func TestBoardsRun(t *testing.T) {
	firmware := folder(t, "WASMBED_FIRMWARE", "build/firmware")
	var p *platform
	for _, x := range images {
		t.Run(x.board+"/"+x.transport, func(t *testing.T) {
			if _, err := os.Stat(filepath.Join(firmware, x.image+".elf")); err != nil {
				notRun(t, "no image %s.elf in WASMBED_FIRMWARE (make firmware BOARD=%s)", x.image, x.board)
			}
			p = start(t, firmware)
			name := strings.ToLower(x.board)
			begin := time.Now()
			if out, err := p.try("devices", "create", name, "--board", x.board, "--backend", x.backend, "--transport", x.transport); err != nil {
				if strings.Contains(err.Error(), "Unsupported") { // an engine or a network device that this machine lacks
					notRun(t, "%v", err)
				}
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("booted after %v", time.Since(begin).Round(10*time.Millisecond))
			p.running(name, "")
			t.Logf("enrolled and runs the sample after %v", time.Since(begin).Round(10*time.Millisecond))
			first := p.device(name)
			last := first.Status.BootID
			for _, verb := range []string{"reset", "power-cut"} {
				begin = time.Now()
				p.cli("devices", verb, name)
				p.running(name, last)
				now := p.device(name)
				if now.Status.Certificate.Fingerprint != first.Status.Certificate.Fingerprint {
					t.Errorf("%s: certificate %s, before %s: its storage did not keep", verb, now.Status.Certificate.Fingerprint, first.Status.Certificate.Fingerprint)
				}
				last = now.Status.BootID
				t.Logf("runs again %v after %s", time.Since(begin).Round(10*time.Millisecond), verb)
			}
			for _, line := range strings.Split(p.cli("console", name, "--tail", "60"), "\n") {
				if strings.Contains(line, "memory:") || strings.Contains(line, " E ") {
					t.Log(line)
				}
			}
		})
	}
}

// running waits until the device is online in another boot than old and runs its application.
func (p *platform) running(name, old string) {
	p.t.Helper()
	p.wait(name+" to run the sample", func() bool {
		d := p.device(name)
		return d.Status.Online == "True" && d.Status.BootID != old && d.Status.Apps == "1/1"
	})
}

// TestLargestModule finds what the board really takes: modules that grow in code, in data, and in bytes that no engine reads.
// It prints; what binds is that a module within the announced limits runs and one beyond is refused with its reason.
func TestLargestModule(t *testing.T) {
	firmware := folder(t, "WASMBED_FIRMWARE", "build/firmware")
	image := os.Getenv("WASMBED_LARGEST")
	if image == "" {
		image = "Mps2An385"
	}
	if _, err := os.Stat(filepath.Join(firmware, image+".elf")); err != nil {
		notRun(t, "no image %s.elf in WASMBED_FIRMWARE", image)
	}
	p := start(t, firmware, "WASMBED_SAMPLE=false") // the module has the pool for itself
	board, transport := strings.TrimSuffix(image, "-serial"), "Ethernet"
	if board != image {
		transport = "Serial"
	}
	p.cli("devices", "create", "largest", "--board", board, "--backend", "qemu", "--transport", transport)
	p.wait("the board to be online", func() bool { return p.device("largest").Status.Online == "True" })
	caps := p.device("largest").Status.Capabilities
	for _, kind := range []string{"padding", "data", "code"} {
		best, top := 0, int(caps.ModuleSize)+1024
		if kind == "data" {
			top = min(top, 60<<10) // one page
		}
		for low, high := 0, top; high-low > 512; {
			n := (low + high) / 2
			if reason := p.offer(kind, n); reason == "" {
				best, low = n, n
			} else {
				t.Logf("%s %d: %s", kind, n, reason)
				high = n
			}
		}
		t.Logf("%s of %d bytes (the module has %d) runs; announced: slots of %d, %d for an instance", kind, best, len(grown(kind, best)), caps.ModuleSize, caps.ModuleMemory)
		if best == 0 {
			t.Errorf("no module with %s ran", kind)
		}
	}
}

// offer deploys a grown module and returns "" when it runs, else the reason.
func (p *platform) offer(kind string, n int) string {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "grown.wasm")
	if err := os.WriteFile(file, grown(kind, n), 0o600); err != nil {
		p.t.Fatal(err)
	}
	_, err := p.try("deploy", file, "--name", "grown", "--to", "largest", "--health-window", "1s", "--timeout", "1m")
	if err == nil {
		return ""
	}
	for _, reason := range []string{"InsufficientMemory", "ModuleTooLarge"} {
		if strings.Contains(err.Error(), reason) {
			return reason
		}
	}
	p.t.Fatal(err)
	return ""
}
