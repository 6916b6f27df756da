package validate_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/api/validate"
	"wasmbed.io/wasmbed/internal/errs"
)

const ns = "plant"

var clock = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func boards() []validate.Board {
	return []validate.Board{
		{Name: "Big", QEMU: true, ModuleMemory: 128 << 10, ModuleSize: 128 << 10},
		{Name: "Small", Renode: true, ModuleMemory: 8 << 10, ModuleSize: 128 << 10},
		{Name: "Never", QEMU: true, Refused: "8 KiB of RAM hold no TLS"},
	}
}

// world is a namespace with a few things in it.
type world struct {
	*client.Set
	v *validate.Validator
}

func newWorld(t *testing.T) world {
	t.Helper()
	set := client.NewMemory()
	w := world{set, validate.New(validate.Client{Set: set}, boards(), func() time.Time { return clock })}
	for name, board := range map[string]string{"big-1": "Big", "big-2": "Big", "small-1": "Small", "own-1": "Homemade"} {
		make1(t, set.Devices, &v1alpha1.Device{ObjectMeta: named(name, map[string]string{"board": board, "line": "a"}), Spec: v1alpha1.DeviceSpec{Board: board}})
	}
	make1(t, set.Modules, &v1alpha1.Module{ObjectMeta: named("hello", nil), Spec: v1alpha1.ModuleSpec{Bytes: wasm(t, "hello")}})
	make1(t, set.Modules, &v1alpha1.Module{ObjectMeta: named("liar", nil), Spec: v1alpha1.ModuleSpec{Bytes: wasm(t, "hello"), Digest: "sha256:" + strings.Repeat("0", 64)}})
	make1(t, set.Gateways, &v1alpha1.Gateway{ObjectMeta: named("main", nil), Spec: v1alpha1.GatewaySpec{Address: "gw.example.org:8081"}})
	make1(t, set.Secrets, &corev1.Secret{ObjectMeta: named("key", nil)})
	make1(t, set.Applications, &v1alpha1.Application{ObjectMeta: named("app", nil), Spec: spec(func(s *v1alpha1.ApplicationSpec) { s.Module.Name = "hello" })})
	return w
}

func make1[T any](t *testing.T, r client.Resource[T], o *T) {
	t.Helper()
	if _, err := r.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func named(name string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: ns, Name: name, Labels: labels}
}

func wasm(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../../firmware/modules/" + name + ".wasm")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func spec(change func(*v1alpha1.ApplicationSpec)) v1alpha1.ApplicationSpec {
	a := v1alpha1.Application{Spec: v1alpha1.ApplicationSpec{Targets: v1alpha1.Targets{Names: []string{"big-1"}}}}
	a.Default()
	change(&a.Spec)
	return a.Spec
}

// expect compares findings: each line of want is "!part" for a refusal or "?part" for a warning that contains all of the
// parts, which stand between | signs.
func expect(t *testing.T, got validate.Findings, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d findings, want %d:", len(got), len(want))
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing: %s", want[i])
		case i >= len(want):
			t.Errorf("too many: %s (warning %v)", got[i], got[i].Warning)
		default:
			if got[i].Warning != (want[i][0] == '?') {
				t.Errorf("%s: warning is %v", got[i], got[i].Warning)
			}
			for _, part := range strings.Split(want[i][1:], "|") {
				if !strings.Contains(got[i].String(), part) {
					t.Errorf("%q is not in %q", part, got[i])
				}
			}
		}
	}
}

func TestModule(t *testing.T) {
	w := newWorld(t)
	hello := wasm(t, "hello")
	old := &v1alpha1.Module{ObjectMeta: named("m", nil), Spec: v1alpha1.ModuleSpec{Bytes: []byte("was never one")}}
	for _, c := range []struct {
		name string
		old  *v1alpha1.Module
		spec v1alpha1.ModuleSpec
		want []string
	}{
		{"good", nil, v1alpha1.ModuleSpec{Bytes: hello, Digest: module.Digest(hello)}, nil},
		{"no digest", nil, v1alpha1.ModuleSpec{Bytes: hello}, nil},
		{"another's digest", nil, v1alpha1.ModuleSpec{Bytes: hello, Digest: module.Digest(nil)}, []string{"!spec.digest: DigestMismatch|" + module.Digest(hello) + "|leave digest out"}},
		{"no module", nil, v1alpha1.ModuleSpec{Bytes: []byte("\x00asm\x01\x00\x00")}, []string{"!spec.bytes: NotWasm|docs/spec/abi.md"}},
		{"no entry point", nil, v1alpha1.ModuleSpec{Bytes: []byte("\x00asm\x01\x00\x00\x00")}, []string{"!spec.bytes: NoEntryPoint|wasmbed_start"}},
		{"cut", nil, v1alpha1.ModuleSpec{Bytes: hello[:len(hello)-3]}, []string{"!spec.bytes: NotWasm"}},
		{"foreign import", nil, v1alpha1.ModuleSpec{Bytes: replace(hello, "wasmbed", "wasmbad")}, []string{"!spec.bytes: MissingImport|wasmbad"}},
		{"unchanged", old, old.Spec, nil},
		{"both wrong", nil, v1alpha1.ModuleSpec{Bytes: []byte("x"), Digest: module.Digest(nil)}, []string{"!spec.digest", "!spec.bytes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			expect(t, w.v.Module(t.Context(), c.old, &v1alpha1.Module{ObjectMeta: named("m", nil), Spec: c.spec}), c.want...)
		})
	}
	tiny := validate.New(validate.Client{Set: w.Set}, []validate.Board{{Name: "Small", ModuleMemory: 1 << 10}, {Name: "Large", ModuleMemory: 2 << 10}}, nil)
	expect(t, tiny.Module(t.Context(), nil, &v1alpha1.Module{Spec: v1alpha1.ModuleSpec{Bytes: hello}}), "?spec.bytes: InsufficientMemory|no board of the table|board Large has 2048")
	expect(t, w.v.ModuleGone(t.Context(), &v1alpha1.Module{ObjectMeta: named("hello", nil)}), "?ModuleInUse|1 application (app)")
	expect(t, w.v.ModuleGone(t.Context(), &v1alpha1.Module{ObjectMeta: named("other", nil)}))
}

func replace(b []byte, what, by string) []byte {
	return []byte(strings.ReplaceAll(string(b), what, by))
}

func TestApplication(t *testing.T) {
	w := newWorld(t)
	hello := wasm(t, "hello")
	for _, c := range []struct {
		name   string
		change func(*v1alpha1.ApplicationSpec)
		want   []string
	}{
		{"inline", func(s *v1alpha1.ApplicationSpec) { s.Module.Inline = hello }, nil},
		{"named", func(s *v1alpha1.ApplicationSpec) { s.Module.Name = "hello" }, nil},
		{"not there yet", func(s *v1alpha1.ApplicationSpec) { s.Module.Name = "later" }, []string{"?spec.module.name: ModuleNotFound|no Module later in namespace plant"}},
		{"wrong digest", func(s *v1alpha1.ApplicationSpec) { s.Module.Name = "liar" }, []string{"!spec.module.name: DigestMismatch|Module liar"}},
		{"not wasm", func(s *v1alpha1.ApplicationSpec) { s.Module.Inline = []byte("x") }, []string{"!spec.module.inline: NotWasm"}},
		{"not permitted", func(s *v1alpha1.ApplicationSpec) {
			s.Module.Inline, s.Manifest.Permissions = hello, []v1alpha1.Permission{}
		}, []string{"!spec.manifest.permissions: PermissionDenied|wasmbed.log|permit what it needs"}},
		{"timers", func(s *v1alpha1.ApplicationSpec) {
			s.Module.Inline = replace(hello, "wasmbed_timer", "wasmbed_tamer")
			s.Manifest.Timers = []v1alpha1.Timer{{ID: 1, Period: metav1.Duration{Duration: time.Second}}}
		}, []string{"?spec.manifest.timers|exports no function wasmbed_timer"}},
		{"tag", func(s *v1alpha1.ApplicationSpec) { s.Module.OCI = "ghcr.io/team/app:1" }, []string{"?spec.module.oci|a tag may name other bytes"}},
		{"digest", func(s *v1alpha1.ApplicationSpec) { s.Module.OCI = "ghcr.io/team/app@sha256:" + strings.Repeat("a", 64) }, nil},
		{"no reference", func(s *v1alpha1.ApplicationSpec) { s.Module.OCI = "ghcr.io/Team/App:1" }, []string{"!spec.module.oci: ModuleInvalid|Team"}},
		{"window above deadline", func(s *v1alpha1.ApplicationSpec) {
			s.Module.Inline, s.Manifest.Health.Window = hello, &metav1.Duration{Duration: 10 * time.Minute}
		}, []string{"?spec.rollout.progressDeadline|5m0s|10m0s"}},
		{"another namespace's device", func(s *v1alpha1.ApplicationSpec) {
			s.Module.Inline, s.Targets.Names = hello, []string{"big-1", "office/lamp"}
		}, []string{"!spec.targets.names[1]: TargetsInvalid|namespace office|runs there"}},
		{"no name", func(s *v1alpha1.ApplicationSpec) { s.Module.Inline, s.Targets.Names = hello, []string{"Big.1"} }, []string{`!spec.targets.names[0]: TargetsInvalid|"Big.1"`}},
		{"waited for", func(s *v1alpha1.ApplicationSpec) {
			s.Module.Inline, s.Targets.Names = hello, []string{"big-1", "n-1", "n-2", "n-3", "n-4"}
		}, []string{"?spec.targets.names|4 devices are not there yet|n-1, n-2, n-3 and 1 more"}},
		{"nobody", sel(hello, "line", "z"), []string{"?spec.targets.selector|no device of namespace plant has these labels now"}},
		{"bad label", sel(hello, "a b", "z"), []string{"!spec.targets.selector.matchLabels[a b]: TargetsInvalid"}},
		{"bad expression", func(s *v1alpha1.ApplicationSpec) {
			s.Module.Inline = hello
			s.Targets = v1alpha1.Targets{Selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "line", Operator: "In", Values: []string{"x", "bad value"}}}}}
		}, []string{"!spec.targets.selector.matchExpressions[0].values[1]: TargetsInvalid"}},
		{"bad operator", func(s *v1alpha1.ApplicationSpec) {
			s.Module.Inline = hello
			s.Targets = v1alpha1.Targets{Selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "line", Operator: "Gt"}}}}
		}, []string{"!spec.targets.selector: TargetsInvalid|Exists"}},
		{"fits some", sel(hello, "line", "a"), []string{"?spec.targets: InsufficientMemory|1 of 4 devices|small-1|board Small has 8192"}},
		{"fits none", sel(hello, "board", "Small"), []string{"!spec.targets: InsufficientMemory|no targeted device|small-1|a smaller module"}},
		{"fits none by module name", func(s *v1alpha1.ApplicationSpec) { s.Module.Name, s.Targets.Names = "hello", []string{"small-1"} }, []string{"!spec.targets: InsufficientMemory"}},
		{"one of two may come", func(s *v1alpha1.ApplicationSpec) {
			s.Module.Inline, s.Targets.Names = hello, []string{"small-1", "later"}
		},
			[]string{"?spec.targets.names|1 device is not there yet", "?spec.targets: InsufficientMemory"}},
		{"a board nobody knows", sel(hello, "board", "Homemade"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			expect(t, w.v.Application(t.Context(), nil, &v1alpha1.Application{ObjectMeta: named("a", nil), Spec: spec(c.change)}), c.want...)
		})
	}
}

func sel(wasm []byte, key, value string) func(*v1alpha1.ApplicationSpec) {
	return func(s *v1alpha1.ApplicationSpec) {
		s.Module.Inline = wasm
		s.Targets = v1alpha1.Targets{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}}
	}
}

// TestWhatIsNotTouchedIsNotRefused: an Application that does not fit any more can be paused, stopped and moved.
func TestWhatIsNotTouchedIsNotRefused(t *testing.T) {
	w := newWorld(t)
	app := func(change func(*v1alpha1.ApplicationSpec)) *v1alpha1.Application {
		return &v1alpha1.Application{ObjectMeta: named("a", nil), Spec: spec(func(s *v1alpha1.ApplicationSpec) {
			sel(wasm(t, "hello"), "board", "Small")(s)
			change(s)
		})}
	}
	old := app(func(*v1alpha1.ApplicationSpec) {})
	expect(t, w.v.Application(t.Context(), nil, old), "!spec.targets")
	expect(t, w.v.Application(t.Context(), old, old))
	expect(t, w.v.Application(t.Context(), old, app(func(s *v1alpha1.ApplicationSpec) { s.Paused = true })))
	expect(t, w.v.Application(t.Context(), old, app(func(s *v1alpha1.ApplicationSpec) { s.State = v1alpha1.RunStateStopped })))
	expect(t, w.v.Application(t.Context(), old, app(func(s *v1alpha1.ApplicationSpec) { s.Targets = v1alpha1.Targets{Names: []string{"big-1"}} })))
	expect(t, w.v.Application(t.Context(), old, app(func(s *v1alpha1.ApplicationSpec) { s.Manifest.Config = map[string]string{"a": "b"} })), "!spec.targets")
	going := app(func(s *v1alpha1.ApplicationSpec) { s.Module.Inline = []byte("x") })
	now := metav1.NewTime(clock)
	going.DeletionTimestamp = &now
	expect(t, w.v.Application(t.Context(), old, going))
}

func TestRollbackAnnotation(t *testing.T) {
	w := newWorld(t)
	make1(t, w.Revisions, &v1alpha1.Revision{ObjectMeta: named("app-1-x", nil), Spec: v1alpha1.RevisionSpec{Application: "app"}})
	make1(t, w.Revisions, &v1alpha1.Revision{ObjectMeta: named("other-1-x", nil), Spec: v1alpha1.RevisionSpec{Application: "other"}})
	old, err := w.Applications.Get(t.Context(), ns, "app")
	if err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string][]string{"": nil, "app-1-x": nil, "app-2-x": {"!metadata.annotations[wasmbed.io/rollback-to]|no Revision app-2-x"}, "other-1-x": {"!metadata.annotations|of application other"}} {
		a := old.DeepCopy()
		a.Annotations = map[string]string{v1alpha1.AnnotationRollbackTo: to}
		expect(t, w.v.Application(t.Context(), old, a), want...)
		expect(t, w.v.Application(t.Context(), a, a))
	}
}

// TestCapabilitiesBeatTheTable: what a device said itself counts.
func TestCapabilitiesBeatTheTable(t *testing.T) {
	w := newWorld(t)
	d, err := w.Devices.Get(t.Context(), ns, "small-1")
	if err != nil {
		t.Fatal(err)
	}
	a := &v1alpha1.Application{ObjectMeta: named("a", nil), Spec: spec(sel(wasm(t, "hello"), "board", "Small"))}
	d.Status.Capabilities = &v1alpha1.Capabilities{ModuleMemory: 1 << 20, ModuleSize: 1 << 20}
	if d, err = w.Devices.UpdateStatus(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	expect(t, w.v.Application(t.Context(), nil, a))
	d.Status.Capabilities.Permissions = []string{"kv"}
	if _, err = w.Devices.UpdateStatus(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	expect(t, w.v.Application(t.Context(), nil, a), "!spec.targets: MissingImport|which board Small does not have")
}

func TestDevice(t *testing.T) {
	w := newWorld(t)
	p256, p384, other := spki(t, elliptic.P256()), spki(t, elliptic.P384()), spki(t, elliptic.P256())
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaDER, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	id := func(k []byte) *v1alpha1.DeviceIdentity { return &v1alpha1.DeviceIdentity{PublicKey: k} }
	em := func(b string) *v1alpha1.Emulation { return &v1alpha1.Emulation{Backend: b} }
	enrolled := func(s v1alpha1.DeviceSpec) *v1alpha1.Device {
		return &v1alpha1.Device{ObjectMeta: named("d", nil), Spec: s, Status: v1alpha1.DeviceStatus{Certificate: &v1alpha1.CertificateStatus{Serial: "1"}}}
	}
	ahead := func(s v1alpha1.DeviceSpec) *v1alpha1.Device {
		return &v1alpha1.Device{ObjectMeta: named("d", nil), Spec: s}
	}
	type spec = v1alpha1.DeviceSpec
	for _, c := range []struct {
		name string
		old  *v1alpha1.Device
		spec spec
		want []string
	}{
		{"plain", nil, spec{Board: "Big"}, nil},
		{"unknown board", nil, spec{Board: "Homemade"}, []string{`?spec.board|no "Homemade"`}},
		{"unknown board, host", nil, spec{Board: "Homemade", Emulation: em("host")}, []string{"?spec.board"}},
		{"unknown board, qemu", nil, spec{Board: "Homemade", Emulation: em("qemu")}, []string{"!spec.board|nothing can emulate it|wasmbed boards"}},
		{"refused board", nil, spec{Board: "Never"}, []string{"!spec.board: Unsupported|8 KiB"}},
		{"refused board, host", nil, spec{Board: "Never", Emulation: em("host")}, []string{"!spec.board: Unsupported|8 KiB"}},
		{"refused board as before", ahead(spec{Board: "Never"}), spec{Board: "Never", Hold: true}, nil},
		{"qemu", nil, spec{Board: "Big", Emulation: em("qemu")}, nil},
		{"wrong backend", nil, spec{Board: "Big", Emulation: em("renode")}, []string{"!spec.emulation.backend|backend renode"}},
		{"pinned ahead", nil, spec{Board: "Big", Identity: id(p256)}, nil},
		{"P-384", nil, spec{Board: "Big", Identity: id(p384)}, []string{"!spec.identity.publicKey|ECDSA P-384|openssl"}},
		{"RSA", nil, spec{Board: "Big", Identity: id(rsaDER)}, []string{"!spec.identity.publicKey|rsa.PublicKey"}},
		{"no key", nil, spec{Board: "Big", Identity: id([]byte("key"))}, []string{"!spec.identity.publicKey|no public key"}},
		{"another key", ahead(spec{Board: "Big", Identity: id(p256)}), spec{Board: "Big", Identity: id(other)}, []string{"!spec.identity.publicKey|pinned"}},
		{"key taken away", ahead(spec{Board: "Big", Identity: id(p256)}), spec{Board: "Big"}, []string{"!spec.identity.publicKey|pinned"}},
		{"board mended before enrollment", ahead(spec{Board: "Small"}), spec{Board: "Big"}, nil},
		{"board of an enrolled one", enrolled(spec{Board: "Small", Identity: id(p256)}), spec{Board: "Big", Identity: id(p256)}, []string{"!spec.board|enrolled as a Small"}},
		{"key of an enrolled one", enrolled(spec{Board: "Big"}), spec{Board: "Big", Identity: id(p256)}, []string{"!spec.identity.publicKey|only enrollment"}},
		{"held", enrolled(spec{Board: "Big", Identity: id(p256)}), spec{Board: "Big", Identity: id(p256), Hold: true}, nil},
		{"gateway", nil, spec{Board: "Big", Gateway: "main"}, nil},
		{"no gateway", nil, spec{Board: "Big", Gateway: "mian"}, []string{"?spec.gateway|no Gateway mian in namespace plant"}},
		{"approved unseen", nil, spec{Board: "Big", Approval: "Approved"}, []string{"?spec.identity|first device that asks"}},
		{"approved with key", nil, spec{Board: "Big", Approval: "Approved", Identity: id(p256)}, nil},
		{"approved with claim", nil, spec{Board: "Big", Approval: "Approved", Identity: &v1alpha1.DeviceIdentity{ClaimDigest: "sha256:x"}}, nil},
		{"approved emulation", nil, spec{Board: "Big", Approval: "Approved", Emulation: em("qemu")}, nil},
		{"let in again", ahead(spec{Board: "Big", Approval: "Revoked"}), spec{Board: "Big", Approval: "Approved"}, []string{"?spec.approval|was Revoked"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			expect(t, w.v.Device(t.Context(), c.old, &v1alpha1.Device{ObjectMeta: named("d", nil), Spec: c.spec}), c.want...)
		})
	}
	without := validate.New(validate.Client{Set: w.Set}, nil, nil)
	expect(t, without.Device(t.Context(), nil, ahead(spec{Board: "Homemade", Emulation: em("qemu")})))
}

func spki(t *testing.T, c elliptic.Curve) []byte {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGateway(t *testing.T) {
	w := newWorld(t)
	at := func(d time.Duration) *metav1.Time { x := metav1.NewTime(clock.Add(d)); return &x }
	require := v1alpha1.AttestationPolicy{Mode: "Require", Measurements: []v1alpha1.Measurement{{Digest: module.Digest([]byte("fw"))}}}
	type spec = v1alpha1.GatewaySpec
	for _, c := range []struct {
		name string
		old  *spec
		spec spec
		want []string
	}{
		{"name", nil, spec{Address: "gw.example.org:8081"}, nil},
		{"IPv6", nil, spec{Address: "[2001:db8::1]:8081"}, nil},
		{"nobody's address", nil, spec{Address: "0.0.0.0:8081"}, []string{"!spec.address|0.0.0.0"}},
		{"no name", nil, spec{Address: "gw..example:8081"}, []string{"!spec.address|neither a DNS name"}},
		{"no port", nil, spec{Address: "gw"}, []string{"!spec.address|host:port"}},
		{"window over", nil, spec{Address: "gw:1", Pairing: v1alpha1.Pairing{Until: at(-time.Minute)}}, []string{"?spec.pairing.until|over"}},
		{"short window", nil, spec{Address: "gw:1", Pairing: v1alpha1.Pairing{Until: at(time.Hour), Approval: "Automatic"}}, nil},
		{"long window", nil, spec{Address: "gw:1", Pairing: v1alpha1.Pairing{Until: at(30 * 24 * time.Hour), Approval: "Automatic"}}, []string{"?spec.pairing|720h0m0s|gw:1"}},
		{"long window, manual", nil, spec{Address: "gw:1", Pairing: v1alpha1.Pairing{Until: at(30 * 24 * time.Hour), Approval: "Manual"}}, nil},
		{"long window, attested", nil, spec{Address: "gw:1", Pairing: v1alpha1.Pairing{Until: at(30 * 24 * time.Hour), Approval: "Automatic"}, Attestation: require}, nil},
		{"measured, not asked", nil, spec{Address: "gw:1", Attestation: v1alpha1.AttestationPolicy{Mode: "None", Measurements: require.Measurements}}, []string{"?spec.attestation.mode|not asked for"}},
		{"asked no more", &spec{Address: "gw:1", Attestation: require}, spec{Address: "gw:1", Attestation: v1alpha1.AttestationPolicy{Mode: "None"}}, []string{"?spec.attestation.mode|prove nothing"}},
		{"nothing measured", nil, spec{Address: "gw:1", Attestation: v1alpha1.AttestationPolicy{Mode: "Require", Measurements: []v1alpha1.Measurement{{Digest: module.Digest(nil)}}}}, []string{"!spec.attestation.measurements[0].digest|no bytes"}},
		{"board nobody knows, twice", nil, spec{Address: "gw:1", Attestation: v1alpha1.AttestationPolicy{Mode: "Require", Measurements: []v1alpha1.Measurement{{Board: "Bog", Digest: "sha256:1"}, {Board: "Bog", Digest: "sha256:1"}}}},
			[]string{"?spec.attestation.measurements[0].board", "?spec.attestation.measurements[1]|twice", "?spec.attestation.measurements[1].board"}},
		{"as before", &spec{Address: "0.0.0.0:1"}, spec{Address: "0.0.0.0:1", Heartbeat: &metav1.Duration{Duration: time.Second}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var old *v1alpha1.Gateway
			if c.old != nil {
				old = &v1alpha1.Gateway{Spec: *c.old}
			}
			expect(t, w.v.Gateway(t.Context(), old, &v1alpha1.Gateway{ObjectMeta: named("g", nil), Spec: c.spec}), c.want...)
		})
	}
	make1(t, w.Devices, &v1alpha1.Device{ObjectMeta: named("bound", nil), Spec: v1alpha1.DeviceSpec{Board: "Big", Gateway: "main"}})
	expect(t, w.v.GatewayGone(t.Context(), &v1alpha1.Gateway{ObjectMeta: named("main", nil)}), "?1 device (bound)")
}

func TestWebhooks(t *testing.T) {
	w := newWorld(t)
	key := v1alpha1.SecretReference{Name: "key"}
	hook := func(url string, private bool) *v1alpha1.Webhook {
		return &v1alpha1.Webhook{ObjectMeta: named("w", nil), Spec: v1alpha1.WebhookSpec{URL: url, AllowPrivate: private, SecretRef: key}}
	}
	expect(t, w.v.Webhook(t.Context(), nil, hook("https://example.org/x", false)))
	expect(t, w.v.Webhook(t.Context(), nil, hook("https://169.254.169.254/latest", true)), "!spec.url: URLInvalid|never dialled")
	expect(t, w.v.Webhook(t.Context(), hook("https://169.254.169.254/latest", true), hook("https://169.254.169.254/latest", true)))
	missing := hook("https://example.org/x", false)
	missing.Spec.SecretRef.Name, missing.Spec.Filter, missing.Spec.CASecretRef = "kay", &v1alpha1.WebhookFilter{Application: "none"}, &v1alpha1.CAReference{Name: "roots"}
	expect(t, w.v.Webhook(t.Context(), nil, missing), "?spec.filter.application|no Application none", "?spec.secretRef.name: SecretMissing|--type=wasmbed.io/webhook", "?spec.caSecretRef.name: SecretMissing|ca.crt")

	source := func(rules ...v1alpha1.HookRule) *v1alpha1.WebhookSource {
		return &v1alpha1.WebhookSource{ObjectMeta: named("s", nil), Spec: v1alpha1.WebhookSourceSpec{SecretRef: key, Verify: v1alpha1.Verification{Scheme: "GitHub"}, Rules: rules}}
	}
	when := func(p string) []v1alpha1.HookCondition { return []v1alpha1.HookCondition{{Path: p}} }
	expect(t, w.v.WebhookSource(t.Context(), nil, source(v1alpha1.HookRule{When: when("$.ref"), Data: map[string]string{"a": "x {$.b[0]} {header.X-A}", "c": "plain {"}})))
	expect(t, w.v.WebhookSource(t.Context(), nil, source(v1alpha1.HookRule{Data: map[string]string{"a": "$..b", "b": "{$.x"}}, v1alpha1.HookRule{When: when("ref")}, v1alpha1.HookRule{When: when("header.Authorization")})),
		"!spec.rules[0].data[a]", "!spec.rules[0].data[b]|no end", "?spec.rules[1]|never do", "!spec.rules[1].when[0].path|$.a.b[0]", "!spec.rules[2].when[0].path|never read")
	token := source(v1alpha1.HookRule{})
	token.Spec.Verify = v1alpha1.Verification{Scheme: "Token", TimePath: "when"}
	expect(t, w.v.WebhookSource(t.Context(), nil, token), "!spec.verify.timePath", "?spec.verify.scheme|a token says nothing")
}

func TestRevision(t *testing.T) {
	w := newWorld(t)
	hash := strings.Repeat("ab", 32)
	rev := func(name string, m v1alpha1.ResolvedModule) *v1alpha1.Revision {
		return &v1alpha1.Revision{ObjectMeta: named(name, nil), Spec: v1alpha1.RevisionSpec{Application: "app", Number: 2, Module: m, Hash: hash}}
	}
	good := v1alpha1.ResolvedModule{Name: "hello", Digest: module.Digest(wasm(t, "hello"))}
	const word = "?made by the platform"
	expect(t, w.v.Revision(t.Context(), nil, rev("app-2-ababab", good)), word)
	expect(t, w.v.Revision(t.Context(), nil, rev("app-3-ababab", good)), "!metadata.name|app-2-ababab", word)
	expect(t, w.v.Revision(t.Context(), nil, rev("app-2-ababab", v1alpha1.ResolvedModule{Name: "hello", Digest: module.Digest(nil)})), "!spec.module.digest: DigestMismatch", word)
	expect(t, w.v.Revision(t.Context(), nil, rev("app-2-ababab", v1alpha1.ResolvedModule{OCI: "ghcr.io/a/b:1"})), "!spec.module.oci|by digest", word)
	expect(t, w.v.Revision(t.Context(), rev("app-2-ababab", good), rev("app-2-ababab", v1alpha1.ResolvedModule{Name: "liar"})), "!spec|immutable")
	expect(t, w.v.Revision(t.Context(), rev("app-2-ababab", good), rev("app-2-ababab", good)))
	a, err := w.Applications.Get(t.Context(), ns, "app")
	if err != nil {
		t.Fatal(err)
	}
	a.Status.Revision = "app-2-ababab"
	if _, err := w.Applications.UpdateStatus(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	expect(t, w.v.RevisionGone(t.Context(), rev("app-2-ababab", good)), "?RevisionInUse|runs it")
	expect(t, w.v.RevisionGone(t.Context(), rev("app-1-ababab", good)))
}

// away answers nothing.
type away struct {
	validate.Client
	err error
}

func (a away) Module(context.Context, string, string) (*v1alpha1.Module, error) { return nil, a.err }
func (a away) Gateway(context.Context, string, string) error                    { return a.err }
func (a away) Device(context.Context, string, string) (*v1alpha1.Device, error) { return nil, a.err }

// TestWhatCannotBeLookedUpRefusesNothing: neither an API server that is away nor a right that is missing.
func TestWhatCannotBeLookedUpRefusesNothing(t *testing.T) {
	a := &v1alpha1.Application{ObjectMeta: named("a", nil), Spec: spec(func(s *v1alpha1.ApplicationSpec) { s.Module.Name = "hello" })}
	d := &v1alpha1.Device{ObjectMeta: named("d", nil), Spec: v1alpha1.DeviceSpec{Board: "Big", Gateway: "main"}}
	v := validate.New(away{err: errs.New(errs.Deadline, "the API server takes too long")}, boards(), nil)
	expect(t, v.Application(t.Context(), nil, a), "?spec.module.name|not checked", "?spec.targets|not checked")
	expect(t, v.Device(t.Context(), nil, d), "?spec.gateway|not checked: the API server takes too long")
	v = validate.New(away{err: errs.New(errs.Denied, "no")}, boards(), nil)
	expect(t, v.Application(t.Context(), nil, a))
	expect(t, v.Device(t.Context(), nil, d))
}

func TestErr(t *testing.T) {
	var fs validate.Findings
	if fs.Err() != nil || len(fs.Warnings()) != 0 {
		t.Error(fs)
	}
	fs = append(fs, validate.Finding{Field: "a", Cause: "a word", Warning: true})
	if fs.Err() != nil || fs.Warnings()[0] != "a: a word" {
		t.Error(fs.Err(), fs.Warnings())
	}
	fs = append(fs, validate.Finding{Field: "b", Reason: "R", Cause: "wrong\nline", Mend: "do"})
	if err := fs.Err(); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "b: R: wrong line") || !strings.Contains(err.Error(), "do") {
		t.Error(err)
	}
	fs = append(fs, validate.Finding{Field: "c", Cause: "also"})
	if err := fs.Err(); !strings.Contains(err.Error(), "; c: also") {
		t.Error(err)
	}
	for range 100 {
		fs = append(fs, validate.Finding{Cause: "w", Warning: true})
	}
	if n := len(fs.Warnings()); n != 17 {
		t.Error(n)
	}
}
