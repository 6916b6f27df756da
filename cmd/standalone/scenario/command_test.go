package scenario

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
)

// TestCommands: a function of a module on a device is called once and answers; so do many; what a device cannot do is
// said; a device restarts on request; and an outside CloudEvent does the same as the CLI.
func TestCommands(t *testing.T) {
	p := boot(t)
	const n = 3
	p.devices("d", n, p.at.Address)
	all := names("d", n)
	p.online(all...)
	app := application("counter", module(t, "counter.wasm"))
	app.Spec.Manifest.Timers = nil
	p.apply(app)
	p.ready("counter", n)

	run := func(want int, args ...string) (string, string) {
		t.Helper()
		out, errw, code := p.cli(args...)
		if code != want {
			t.Fatalf("wasmbed %v: exit %d, want %d\n%s%s", args, code, want, out, errw)
		}
		return strings.TrimSpace(out), errw
	}
	if out, _ := run(0, "invoke", all[0], "counter", "add", "5"); out != "5" {
		t.Fatalf("add: %q", out)
	}
	if out, _ := run(0, "invoke", all[0], "counter", "add", "2"); out != "7" {
		t.Fatalf("add again: %q", out)
	}
	if _, errw := run(6, "invoke", all[0], "counter", "fly"); !strings.Contains(errw, "refused (Unsupported)") {
		t.Errorf("no such function: %s", errw)
	}
	if _, errw := run(6, "invoke", all[0], "nothing", "get"); !strings.Contains(errw, "refused (UnknownApp)") {
		t.Errorf("no such application: %s", errw)
	}
	run(5, "invoke", "nobody", "counter", "get")
	out, _ := run(0, "invoke", "--all", "-o", "json", "counter", "add", "1")
	var o ledger.Operation
	if err := json.Unmarshal([]byte(out), &o); err != nil || !o.Finished || o.Counts["Done"] != n {
		t.Fatalf("to all: %s, %v", out, err)
	}

	// The same by a CloudEvent, twice: it is done once.
	e, err := event.New(event.CommandRequested, "/test", ns, "", event.CommandRequest{
		Namespace: ns, Kind: ledger.CommandInvoke, Devices: all[:1], Application: "counter", Function: "add", Payload: []byte("10"),
	}, event.In(ns))
	if err != nil {
		t.Fatal(err)
	}
	sink := event.NewSink("http://"+p.at.Broker+"/", nil)
	for range 2 {
		p.until("the broker takes it", func() error { return sink.Post(p.ctx(), e) })
	}
	d := event.Device{Namespace: ns, Name: all[0]}
	p.until("the answer", func() error {
		_, results, err := p.led.CommandsOf(p.ctx(), d)
		if err != nil || len(results) == 0 || results[0].Command.By != "" || string(results[0].Payload) != "18" {
			return fmt.Errorf("%+v, %v", results, err)
		}
		return nil
	})
	if out, _ := run(0, "invoke", all[0], "counter", "get"); out != "18" {
		t.Errorf("asked twice, done %q", out)
	}

	// A message to a module that takes none is refused by the device; one to a module that is not there, too.
	if _, errw := run(6, "message", all[0], "nothing", "topic", "x"); !strings.Contains(errw, "refused (UnknownApp)") {
		t.Errorf("message: %s", errw)
	}

	before, err := p.view(all[1])
	if err != nil {
		t.Fatal(err)
	}
	run(0, "reboot", all[1])
	p.until("another boot", func() error {
		v, err := p.view(all[1])
		if err != nil || !v.Online || v.BootID == before.BootID {
			return fmt.Errorf("boot %s, online %v, %v", v.BootID, v.Online, err)
		}
		return nil
	})
	// The count outlived it.
	p.until("the module is back", func() error {
		out, errw, code := p.cli("invoke", all[1], "counter", "get")
		if code != 0 || strings.TrimSpace(out) != "1" {
			return fmt.Errorf("%s%s", out, errw)
		}
		return nil
	})
}
