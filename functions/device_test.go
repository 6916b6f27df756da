package functions

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
)

// device is a simulated one, with its gateway's session.
type device struct {
	w       *world
	who     event.Device
	key     *ecdsa.PrivateKey
	epoch   uint64
	version uint64
	apps    map[string]event.AppState
	digests map[string]string // application → digest of what runs
	bad     map[string]string // digest → reason why it does not run here
	mute    bool              // answers nothing
	caps    event.Capabilities
	changes int // modules started, stopped or removed
}

func (w *world) newDevice(name string) *device {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	d := &device{w: w, who: event.Device{Namespace: ns, Name: name}, key: key, apps: map[string]event.AppState{}, digests: map[string]string{}, bad: map[string]string{},
		caps: event.Capabilities{ModuleMemory: 96 << 10, ModuleSize: 64 << 10, Chunk: 1024, Frame: 4096, Apps: 4, ABI: 1}}
	w.devices[name] = d
	return d
}

func (d *device) request() event.EnrollmentRequest {
	csr, err := x509.CreateCertificateRequest(crand.Reader, &x509.CertificateRequest{}, d.key)
	if err != nil {
		d.w.t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(d.key.Public())
	if err != nil {
		d.w.t.Fatal(err)
	}
	sum := sha256.Sum256(spki)
	d.w.mu.Lock()
	d.w.n++
	session := fmt.Sprintf("gw-1/%d", d.w.n)
	d.w.mu.Unlock()
	return event.EnrollmentRequest{Namespace: ns, Gateway: "main", Instance: "gw-1", Session: session, KeyFingerprint: hex.EncodeToString(sum[:]),
		CSR: csr, WantedName: d.who.Name, Board: "Mps2An385", Firmware: "1.0", Nonce: []byte("nonce-of-16-byte")}
}

// ask asks for a certificate and returns the verdict.
func (d *device) ask(q event.EnrollmentRequest) ledger.Verdict {
	d.w.t.Helper()
	d.w.fromGateway(event.DeviceEnrollmentRequested, q)
	d.w.drain()
	v, err := d.w.ledger.Verdict(d.w.ctx, q.Session)
	if err != nil {
		d.w.t.Fatalf("%s has no verdict: %v", d.who, err)
	}
	return v
}

// connect opens a session, or announces it again in a new era.
func (d *device) connect() {
	d.w.t.Helper()
	epoch, era, err := d.w.affinity.Acquire(d.w.ctx, d.who, "gw-1", time.Hour)
	if err != nil {
		d.w.t.Fatal(err)
	}
	announced := d.epoch > 0
	d.epoch, d.version = epoch, 0
	d.w.fromGateway(event.DeviceConnected, event.Connected{Device: d.who, Gateway: "main", Instance: "gw-1", Epoch: epoch, Era: era, BootID: "b0", Board: "Mps2An385",
		Firmware: "1.0", Capabilities: d.caps, Time: d.w.clock(), Announced: announced})
	d.report(era, true)
}

func (d *device) disconnect() {
	d.w.fromGateway(event.DeviceDisconnected, event.Disconnected{Device: d.who, Instance: "gw-1", Epoch: d.epoch, Era: d.w.era(), Reason: "Closed", Time: d.w.clock()})
	d.epoch = 0
}

func (d *device) report(era string, full bool) {
	d.version++
	d.w.fromGateway(event.DeviceReported, event.Reported{Device: d.who, Epoch: d.epoch, Era: era, Version: d.version, Full: full, Apps: maps.Clone(d.apps),
		StateDigest: "0000000000000000", Time: d.w.clock()})
}

// act does what desired says, as gateway and device together would, and says whether that was anything.
func (d *device) act() bool {
	if d.epoch == 0 || d.mute {
		return false
	}
	want, err := d.w.ledger.Desired(d.w.ctx, d.who)
	if err != nil {
		d.w.t.Fatal(err)
	}
	var removed []string
	acted := false
	for app := range d.apps {
		if _, ok := want.Apps[app]; !ok && want.Complete && !slices.Contains(want.Keep, app) {
			delete(d.apps, app)
			delete(d.digests, app)
			removed = append(removed, app)
			d.changes++
			acted = true
		}
	}
	for app, a := range want.Apps {
		has := d.apps[app]
		same := has.Revision == a.Revision && (has.State == "Failed" || has.State == "RolledBack") && has.Attempt >= a.Attempt
		runs := has.Running == a.Revision && has.Confirmed && a.State == "Running" && has.State == "Running"
		back := has.State == "RolledBack" && has.Running == a.Revision && a.State == "Running"
		stopped := a.State == "Stopped" && has.State == "Stopped" && has.Revision == a.Revision
		if same || runs || back || stopped {
			continue
		}
		acted = true
		d.changes++
		switch reason := d.bad[a.Digest]; {
		case a.State == "Stopped":
			d.apps[app] = event.AppState{State: "Stopped", Revision: a.Revision, Attempt: a.Attempt}
		case reason != "" && has.Running != "":
			d.apps[app] = event.AppState{State: "RolledBack", Revision: a.Revision, Attempt: a.Attempt, Running: has.Running, Confirmed: true, Reason: reason, Message: "it did not stay up"}
		case reason != "":
			d.apps[app] = event.AppState{State: "Failed", Revision: a.Revision, Attempt: a.Attempt, Reason: reason, Message: "it did not stay up"}
		default:
			d.apps[app] = event.AppState{State: "Running", Revision: a.Revision, Attempt: a.Attempt, Running: a.Revision, Confirmed: true}
			d.digests[app] = a.Digest
		}
	}
	if acted {
		d.version++
		d.w.fromGateway(event.DeviceReported, event.Reported{Device: d.who, Epoch: d.epoch, Era: want.Era, Version: d.version, SeenDesired: want.Version, Full: true,
			Apps: maps.Clone(d.apps), Removed: nil, StateDigest: "0000000000000000", Time: d.w.clock()})
	}
	return acted
}
