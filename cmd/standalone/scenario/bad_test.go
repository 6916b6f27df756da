package scenario

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

var client0 = client.ListOptions{}

// TestBadApplications: what cannot run is refused where a person sees it, before a byte is sent, and nobody else
// is disturbed.
func TestBadApplications(t *testing.T) {
	p := boot(t)
	p.devices("d", 1, p.at.Address)
	p.online("d")
	p.apply(application("fine", module(t, "hello.wasm")))
	p.ready("fine", 1)
	before, err := p.view("d")
	if err != nil {
		t.Fatal(err)
	}

	hello := module(t, "hello.wasm")
	for _, c := range []struct {
		name, reason string
		app          *v1alpha1.Application
	}{
		{"not-wasm", "NotWasm", application("not-wasm", []byte("\x00asm\x01\x00\x00\x00 and then nothing that makes sense"))},
		{"truncated", "NotWasm", application("truncated", hello[:len(hello)/2])},
		{"no-permission", "PermissionDenied", application("no-permission", hello, func(s *v1alpha1.ApplicationSpec) {
			s.Manifest.Permissions = []v1alpha1.Permission{"clock"}
		})},
		{"no-module", "ModuleNotFound", application("no-module", nil, func(s *v1alpha1.ApplicationSpec) { s.Module.Name = "none" })},
		{"nobody", "NoTargets", application("nobody", hello, func(s *v1alpha1.ApplicationSpec) {
			s.Targets = v1alpha1.Targets{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"no": "where"}}}
		})},
		{"too-big", "RolloutFailed", application("too-big", large(module(t, "hello-as.wasm")), func(s *v1alpha1.ApplicationSpec) { s.Manifest.Limits.MemoryPages = 1024 })},
	} {
		p.apply(c.app)
		p.until(c.name+" says "+c.reason, func() error {
			a, err := p.app(c.name)
			if err != nil {
				return err
			}
			ready := condition(a.Status.Conditions, "Ready")
			if ready.Status != metav1.ConditionFalse || ready.Reason != c.reason || ready.Message == "" {
				return fmt.Errorf("Ready=%s %s: %s; reasons %v", ready.Status, ready.Reason, ready.Message, a.Status.Reasons)
			}
			return nil
		})
	}
	for name, change := range map[string]func(*v1alpha1.ApplicationSpec){
		"two modules": func(s *v1alpha1.ApplicationSpec) { s.Module.Name = "both" },
		"a script":    func(s *v1alpha1.ApplicationSpec) { s.Module.Inline = []byte("#!/bin/sh") },
		"no target":   func(s *v1alpha1.ApplicationSpec) { s.Targets = v1alpha1.Targets{} },
		"no pages":    func(s *v1alpha1.ApplicationSpec) { s.Manifest.Limits.MemoryPages = -1 },
		"odd permission": func(s *v1alpha1.ApplicationSpec) {
			s.Manifest.Permissions = []v1alpha1.Permission{"root"}
		},
	} {
		if _, err := p.kube.Applications.Create(p.ctx(), application("refused", hello, change)); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	after, err := p.view("d")
	if err != nil {
		t.Fatal(err)
	}
	if b, a := on(before, "fine"), on(after, "fine"); b.Revision != a.Revision || b.Restarts != a.Restarts || after.BootID != before.BootID || after.Epoch != before.Epoch {
		t.Errorf("a neighbour was disturbed: %+v, then %+v", b, a)
	}
	for _, app := range after.Apps {
		if app.App != "fine" && app.Reported != nil {
			t.Errorf("the device was sent something of %s: %+v", app.App, app.Reported)
		}
	}
}

// TestBadBytes: garbage on the gateway's port ends the garbage's connection and nothing else.
func TestBadBytes(t *testing.T) {
	p := boot(t)
	p.devices("d", 1, p.at.Address)
	p.online("d")
	p.apply(application("fine", module(t, "hello.wasm")))
	p.ready("fine", 1)
	before, err := p.view("d")
	if err != nil {
		t.Fatal(err)
	}
	deep := append([]byte{0, 0, 0, 64}, bytes.Repeat([]byte{0x81}, 64)...)
	long := binary.BigEndian.AppendUint32(nil, 1<<31)
	noise := make([]byte, 4096)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	cert := stranger(t)
	for name, b := range map[string][]byte{"deep": deep, "long": long, "noise": noise, "nothing": {0, 0, 0, 0}, "short": {0, 0}} {
		conn, err := tls.Dial("tcp", p.at.TLS, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"wasmbed/1"}, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
		if err != nil {
			t.Fatalf("%s: a stranger cannot even say hello: %v", name, err)
		}
		if _, err := conn.Write(b); err != nil {
			t.Logf("%s: %v", name, err)
		}
		if name == "short" {
			conn.Close()
			continue
		}
		// The gateway answers with an error and closes, or closes.
		buf := make([]byte, 4096)
		for err = nil; err == nil; {
			_, err = conn.Read(buf)
		}
		conn.Close()
	}
	if _, err := tls.Dial("tcp", p.at.TLS, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 is taken")
	}
	after, err := p.view("d")
	if err != nil {
		t.Fatal(err)
	}
	if after.Epoch != before.Epoch || !after.Online {
		t.Errorf("a neighbour was disturbed: %+v", after)
	}
}

// TestBadEvents: the broker's door takes CloudEvents and nothing else, and odd ones disturb nobody.
func TestBadEvents(t *testing.T) {
	p := boot(t)
	p.devices("d", 1, p.at.Address)
	p.online("d")
	post := func(head map[string]string, body string) int {
		req, err := http.NewRequest(http.MethodPost, "http://"+p.at.Broker+"/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range head {
			req.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	full := func(typ, id string) map[string]string {
		return map[string]string{"ce-specversion": "1.0", "ce-type": typ, "ce-source": "/test", "ce-id": id, "content-type": "application/json"}
	}
	if code := post(full("io.wasmbed.device.reported.v1", ""), "{}"); code != http.StatusBadRequest {
		t.Errorf("an event without id: %d", code)
	}
	if code := post(map[string]string{"content-type": "text/plain"}, "hello"); code != http.StatusBadRequest {
		t.Errorf("not an event: %d", code)
	}
	// Taken, because a broker does not know types; ignored or dead-lettered behind it, because functions do.
	for _, typ := range []string{"com.example.unknown.v1", event.DeviceReported, event.TimerDue, event.DeviceConnected, event.RolloutFailed} {
		for range 2 {
			if code := post(full(typ, "same"), `{"device":{"namespace":"default","name":"d"},"epoch":1,"era":"0000000000000000","version":1}`); code != http.StatusAccepted {
				t.Errorf("%s: %d", typ, code)
			}
		}
	}
	p.apply(application("fine", module(t, "hello.wasm")))
	p.ready("fine", 1)
	v, err := p.view("d")
	if err != nil || !v.Online {
		t.Errorf("a forged event of another era moved the ledger: %+v %v", v, err)
	}
}

// large makes a module ask for 64 pages (4 MiB) of memory at its start: its memory section is replaced.
// It must be one without __heap_base: others are shrunk to what they use.
func large(wasm []byte) []byte {
	for i := 8; i < len(wasm); {
		id, size, at := wasm[i], 0, i+1
		for shift := 0; ; shift += 7 {
			size |= int(wasm[at]&0x7f) << shift
			at++
			if wasm[at-1]&0x80 == 0 {
				break
			}
		}
		if id == 5 {
			return append(append(append([]byte{}, wasm[:i]...), 5, 3, 1, 0, 64), wasm[at+size:]...)
		}
		i = at + size
	}
	return nil
}
