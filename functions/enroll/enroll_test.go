package enroll

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testredis"
)

const ns = "plant"

type instances []affinity.Instance

func (i *instances) Instances(context.Context) ([]affinity.Instance, error) { return *i, nil }

type bench struct {
	*testing.T
	f    *Function
	l    *ledger.Ledger
	set  *client.Set
	up   instances
	now  time.Time
	n    int
	redo bool // every event twice
}

func start(t *testing.T) *bench {
	b := &bench{T: t, set: client.NewMemory(), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	clock := func() time.Time { return b.now }
	b.l = ledger.New(testredis.Start(t).Client(t), ledger.Options{Now: clock})
	b.f = New(Deps{Client: b.set, Ledger: b.l, Instances: &b.up, TrustDomain: "wasmbed.local", Now: clock, Log: slog.New(slog.DiscardHandler)})
	if _, _, err := EnsureAuthority(t.Context(), b.set.Secrets, "wasmbed.local", b.now); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) event(typ, source string, data any) ce.Event {
	b.n++
	e, err := event.New(typ, source, "", fmt.Sprint("e", b.n), data, event.At(b.now))
	if err != nil {
		b.Fatal(err)
	}
	return e
}

// handle handles an event, twice when b.redo; the second answer must be the first.
func (b *bench) handle(e ce.Event) *ce.Event {
	b.Helper()
	reply, err := b.f.Handle(b.Context(), e)
	if err != nil {
		b.Fatalf("%s: %v", e.Type(), err)
	}
	if b.redo {
		again, err := b.f.Handle(b.Context(), e)
		if err != nil {
			b.Fatalf("%s again: %v", e.Type(), err)
		}
		if (reply == nil) != (again == nil) || reply != nil && (reply.ID() != again.ID() || string(reply.Data()) != string(again.Data())) {
			b.Fatalf("%s: the second answer differs:\n%v\n%v", e.Type(), reply, again)
		}
	}
	return reply
}

func (b *bench) changed(kind, name string) *ce.Event {
	b.Helper()
	return b.handle(b.event(event.RefUpdate, "https://kubernetes.default.svc", event.ObjectReference{APIVersion: "wasmbed.io/v1alpha1", Kind: kind, Namespace: ns, Name: name}))
}

func (b *bench) gateway(change func(*v1alpha1.Gateway)) {
	b.Helper()
	until := metav1.NewTime(b.now.Add(time.Hour))
	g := &v1alpha1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "main"}, Spec: v1alpha1.GatewaySpec{Address: "gw:8081", Pairing: v1alpha1.Pairing{Until: &until}}}
	if change != nil {
		change(g)
	}
	if _, err := b.set.Gateways.Create(b.Context(), g); err != nil {
		b.Fatal(err)
	}
	b.changed("Gateway", "main")
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func spkiOf(t testing.TB, k *ecdsa.PrivateKey) []byte {
	b, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func csrOf(t testing.TB, k any) []byte {
	b, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "somebody-else"}}, k)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) request(k *ecdsa.PrivateKey, change func(*event.EnrollmentRequest)) event.EnrollmentRequest {
	q := event.EnrollmentRequest{Namespace: ns, Gateway: "main", Instance: "gw-1", Session: fmt.Sprintf("gw-1/s%d", b.n), KeyFingerprint: fingerprint(spkiOf(b, k)),
		CSR: csrOf(b, k), Board: "Stm32F746gDisco", Firmware: "1.2.0", Nonce: []byte("0123456789abcdef")}
	if change != nil {
		change(&q)
	}
	return q
}

func (b *bench) ask(k *ecdsa.PrivateKey, change func(*event.EnrollmentRequest)) (ledger.Verdict, *ce.Event) {
	b.Helper()
	q := b.request(k, change)
	reply := b.handle(b.event(event.DeviceEnrollmentRequested, "/wasmbed/namespaces/plant/gateways/main/gw-1", q))
	v, err := b.l.Verdict(b.Context(), q.Session)
	if err != nil {
		b.Fatal(err)
	}
	return v, reply
}

func (b *bench) device(name string) *v1alpha1.Device {
	b.Helper()
	d, err := b.set.Devices.Get(b.Context(), ns, name)
	if err != nil {
		b.Fatal(err)
	}
	return d
}

func (b *bench) approve(name string, a v1alpha1.Approval) *ce.Event {
	b.Helper()
	d := b.device(name)
	d.Spec.Approval = a
	if _, err := b.set.Devices.Update(b.Context(), d); err != nil {
		b.Fatal(err)
	}
	return b.changed("Device", name)
}

func (b *bench) enrolled(name, status, reason string) {
	b.Helper()
	c := meta.FindStatusCondition(b.device(name).Status.Conditions, v1alpha1.ConditionEnrolled)
	if c == nil || string(c.Status) != status || c.Reason != reason {
		b.Errorf("%s: Enrolled is %+v, want %s %s", name, c, status, reason)
	}
}

// TestFirstContact is an unknown device in a pairing window: it waits for a person, is approved, gets its
// certificate, renews it, is revoked, and comes back.
func TestFirstContact(t *testing.T) {
	b := start(t)
	b.redo = true
	b.gateway(nil)
	k := newKey(t)
	fp := fingerprint(spkiOf(t, k))

	v, reply := b.ask(k, nil)
	name := "stm32f746gdisco-" + fp[:8]
	if v.Status != "Pending" || v.Reason != "AwaitingApproval" || v.RetryAfter <= 0 || v.Device.Name != name {
		t.Fatalf("%+v", v)
	}
	if reply == nil || reply.Type() != event.DeviceEnrollmentPended || reply.Subject() != ns+"/"+name {
		t.Fatalf("reply %v", reply)
	}
	d := b.device(name)
	if d.Spec.Approval != "Pending" || fingerprint(d.Spec.Identity.PublicKey) != fp || d.Labels[v1alpha1.LabelBoard] != "Stm32F746gDisco" || !slices.Contains(d.Finalizers, v1alpha1.FinalizerEnroll) {
		t.Fatalf("%+v", d)
	}
	b.enrolled(name, "False", "AwaitingApproval")

	// It asks again; nobody is told again. The last session is the one to wake.
	v, reply = b.ask(k, func(q *event.EnrollmentRequest) { q.Session = "gw-1/last" })
	if v.Status != "Pending" || reply != nil {
		t.Fatalf("%+v, reply %v", v, reply)
	}
	b.approve(name, v1alpha1.ApprovalApproved)
	if v, err := b.l.Verdict(t.Context(), "gw-1/last"); err != nil || v.Status != "Pending" || v.RetryAfter != 0 || v.Message != "ask again" {
		t.Fatalf("after approval: %+v, %v", v, err)
	}
	b.enrolled(name, "False", "AwaitingDevice")

	v, reply = b.ask(k, nil)
	if v.Status != "Accepted" || len(v.Chain) != 2 || reply.Type() != event.DeviceEnrolled {
		t.Fatalf("%+v, %v", v, reply)
	}
	b.enrolled(name, "True", "CertificateIssued")
	leaf := b.certificate(v, name, k)
	if got := leaf.NotAfter.Sub(b.now); got != 168*time.Hour {
		t.Errorf("life %v", got)
	}
	st := b.device(name).Status.Certificate
	if st.Serial != hex.EncodeToString(leaf.SerialNumber.Bytes()) || !st.NotAfter.Time.Equal(leaf.NotAfter) || st.Fingerprint != fp {
		t.Errorf("status %+v", st)
	}

	// Renewal: the same key, from a live session.
	b.now = b.now.Add(100 * time.Hour)
	renew := func(q *event.EnrollmentRequest) { q.Renewal = name }
	v, _ = b.ask(k, renew)
	if later := b.certificate(v, name, k); !later.NotAfter.After(leaf.NotAfter) {
		t.Errorf("renewed until %v", later.NotAfter)
	}
	other := newKey(t)
	v, _ = b.ask(k, func(q *event.EnrollmentRequest) { q.Renewal, q.CSR = name, csrOf(t, other) })
	if v.Status != "Rejected" || v.Reason != "KeyMismatch" {
		t.Errorf("another key on renewal: %+v", v)
	}

	// Revoked: denied, told, refused. Approved again: allowed.
	reply = b.approve(name, v1alpha1.ApprovalRevoked)
	if reply == nil || reply.Type() != event.DeviceRevoked {
		t.Fatalf("reply %v", reply)
	}
	if m, err := b.l.Denied(t.Context(), ns); err != nil || m[fp] != "Revoked" {
		t.Errorf("denied %v %v", m, err)
	}
	b.enrolled(name, "False", "Revoked")
	for _, how := range []func(*event.EnrollmentRequest){renew, nil} {
		if v, reply = b.ask(k, how); v.Status != "Rejected" || v.Reason != "Revoked" || reply.Type() != event.DeviceEnrollmentRejected {
			t.Errorf("%+v", v)
		}
	}
	b.approve(name, v1alpha1.ApprovalApproved)
	if m, _ := b.l.Denied(t.Context(), ns); len(m) != 0 {
		t.Errorf("still denied: %v", m)
	}
	if v, _ = b.ask(k, renew); v.Status != "Accepted" {
		t.Errorf("%+v", v)
	}
	b.enrolled(name, "True", "CertificateIssued")
}

// certificate checks what was issued as a gateway does.
func (b *bench) certificate(v ledger.Verdict, name string, k *ecdsa.PrivateKey) *x509.Certificate {
	b.Helper()
	if v.Status != "Accepted" {
		b.Fatalf("%+v", v)
	}
	trust, err := b.l.Trust(b.Context(), ns)
	if err != nil {
		b.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(trust) {
		b.Fatal("the trust anchors hold no certificate")
	}
	leaf, err := x509.ParseCertificate(v.Chain[0])
	if err != nil {
		b.Fatal(err)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, CurrentTime: b.now}); err != nil {
		b.Fatal(err)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, CurrentTime: b.now}); err == nil {
		b.Error("a device's certificate must not serve")
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "spiffe://wasmbed.local/ns/plant/device/"+name || leaf.Subject.CommonName != name {
		b.Errorf("identity %v, %v", leaf.URIs, leaf.Subject)
	}
	if !k.PublicKey.Equal(leaf.PublicKey) {
		b.Error("it is not the device's key")
	}
	if n := leaf.SerialNumber.BitLen(); n != 127 {
		b.Errorf("serial of %d bits", n)
	}
	if !leaf.NotBefore.Equal(b.now.Add(-5 * time.Minute)) {
		b.Errorf("not before %v", leaf.NotBefore)
	}
	return leaf
}

func TestWhoIsLetIn(t *testing.T) {
	mine, theirs := newKey(t), newKey(t)
	claim := []byte("1234-5678")
	sum := sha256.Sum256(claim)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	named := func(q *event.EnrollmentRequest) { q.WantedName = "press-7" }
	closed := func(g *v1alpha1.Gateway) {
		g.Spec.Pairing.Until = &metav1.Time{Time: time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC)}
	}
	automatic := func(g *v1alpha1.Gateway) { g.Spec.Pairing.Approval = v1alpha1.PairingAutomatic }
	made := func(change func(*v1alpha1.DeviceSpec)) *v1alpha1.Device {
		d := &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "press-7"}, Spec: v1alpha1.DeviceSpec{Board: "FrdmK64f", Approval: v1alpha1.ApprovalApproved}}
		change(&d.Spec)
		return d
	}
	with := func(hows ...func(*event.EnrollmentRequest)) func(*event.EnrollmentRequest) {
		return func(q *event.EnrollmentRequest) {
			for _, h := range hows {
				h(q)
			}
		}
	}
	for _, x := range []struct {
		name           string
		gateway        func(*v1alpha1.Gateway)
		device         *v1alpha1.Device
		ask            func(*event.EnrollmentRequest)
		status, reason string
		who            string
	}{
		{"unknown, window open, by policy", automatic, nil, named, "Accepted", "", "press-7"},
		{"unknown, window closed", closed, nil, named, "Rejected", "NotPaired", ""},
		{"no gateway object", nil, nil, with(named, func(q *event.EnrollmentRequest) { q.Gateway = "nowhere" }), "Pending", "NotPaired", ""},
		{"claim for nothing", closed, nil, with(named, func(q *event.EnrollmentRequest) { q.Claim = claim }), "Rejected", "ClaimInvalid", ""},
		{"claim is right, window closed", closed, made(func(s *v1alpha1.DeviceSpec) { s.Identity = &v1alpha1.DeviceIdentity{ClaimDigest: digest} }),
			with(named, func(q *event.EnrollmentRequest) { q.Claim = claim }), "Accepted", "", "press-7"},
		{"claim is wrong, window open", nil, made(func(s *v1alpha1.DeviceSpec) { s.Identity = &v1alpha1.DeviceIdentity{ClaimDigest: digest} }),
			with(named, func(q *event.EnrollmentRequest) { q.Claim = []byte("1234-5679") }), "Rejected", "ClaimInvalid", "press-7"},
		{"claim is missing", nil, made(func(s *v1alpha1.DeviceSpec) { s.Identity = &v1alpha1.DeviceIdentity{ClaimDigest: digest} }), named, "Rejected", "ClaimInvalid", "press-7"},
		{"made ahead without identity, window open", nil, made(func(*v1alpha1.DeviceSpec) {}), named, "Accepted", "", "press-7"},
		{"made ahead without identity, window closed", closed, made(func(*v1alpha1.DeviceSpec) {}), named, "Rejected", "NotPaired", ""},
		{"key set ahead, window closed", closed, made(func(s *v1alpha1.DeviceSpec) { s.Identity = &v1alpha1.DeviceIdentity{PublicKey: spkiOf(t, mine)} }), named, "Accepted", "", "press-7"},
		{"key set ahead, another name wanted", closed, made(func(s *v1alpha1.DeviceSpec) { s.Identity = &v1alpha1.DeviceIdentity{PublicKey: spkiOf(t, mine)} }),
			func(q *event.EnrollmentRequest) { q.WantedName = "press-8" }, "Accepted", "", "press-7"},
		{"name of another key", nil, made(func(s *v1alpha1.DeviceSpec) { s.Identity = &v1alpha1.DeviceIdentity{PublicKey: spkiOf(t, theirs)} }), named, "Rejected", "NameTaken", "press-7"},
		{"another gateway's", nil, made(func(s *v1alpha1.DeviceSpec) { s.Gateway = "other" }), named, "Rejected", "Rejected", "press-7"},
		{"rejected", nil, made(func(s *v1alpha1.DeviceSpec) { s.Approval = v1alpha1.ApprovalRejected }), named, "Rejected", "Rejected", "press-7"},
		{"bad name", nil, nil, func(q *event.EnrollmentRequest) { q.WantedName = "Press 7" }, "Rejected", "BadRequest", ""},
		{"no request", nil, nil, func(q *event.EnrollmentRequest) { q.CSR = []byte("hello") }, "Rejected", "BadRequest", ""},
		{"huge request", nil, nil, func(q *event.EnrollmentRequest) { q.CSR = make([]byte, maxCSR+1) }, "Rejected", "BadRequest", ""},
		{"not the session's key", nil, nil, func(q *event.EnrollmentRequest) { q.CSR = csrOf(t, theirs) }, "Rejected", "KeyMismatch", ""},
		{"not P-256", nil, nil, func(q *event.EnrollmentRequest) {
			k, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			q.CSR = csrOf(t, k)
		}, "Rejected", "BadRequest", ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			b := start(t)
			b.redo = true
			b.gateway(x.gateway)
			if x.device != nil {
				if _, err := b.set.Devices.Create(t.Context(), x.device); err != nil {
					t.Fatal(err)
				}
				b.changed("Device", x.device.Name)
			}
			v, reply := b.ask(mine, x.ask)
			if v.Status != x.status || v.Reason != x.reason || x.who != "" && v.Device.Name != x.who {
				t.Fatalf("%+v", v)
			}
			if x.status == "Rejected" && (v.Message == "" || v.RetryAfter <= 0 || reply == nil || reply.Type() != event.DeviceEnrollmentRejected) {
				t.Errorf("a refusal must say why, when to come again, and be told: %+v, %v", v, reply)
			}
			if x.status == "Accepted" {
				b.certificate(v, x.who, mine)
				b.enrolled(x.who, "True", "CertificateIssued")
			}
			if x.reason == "NameTaken" {
				if d := b.device("press-7"); fingerprint(d.Spec.Identity.PublicKey) != fingerprint(spkiOf(t, theirs)) || d.Status.Certificate != nil {
					t.Error("a stranger changed the device")
				}
			}
		})
	}
}

func TestAttestation(t *testing.T) {
	k, other := newKey(t), newKey(t)
	measurement := sha256.Sum256([]byte("firmware"))
	spki := spkiOf(t, k)
	sign := func(k *ecdsa.PrivateKey, nonce []byte) []byte {
		tbs := append(append([]byte("wasmbed/1 evidence\x00"), nonce...), measurement[:]...)
		h := sha256.Sum256(spki)
		digest := sha256.Sum256(append(tbs, h[:]...))
		sig, err := ecdsa.SignASN1(rand.Reader, k, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	good := func(q *event.EnrollmentRequest) {
		q.EvidenceFormat, q.Measurement, q.EvidenceNonce, q.Signature = 1, measurement[:], q.Nonce, sign(k, q.Nonce)
	}
	for _, x := range []struct {
		name   string
		spoil  func(*event.EnrollmentRequest)
		policy v1alpha1.Measurement
		ok     bool
	}{
		{name: "good", ok: true},
		{name: "board and firmware named", policy: v1alpha1.Measurement{Board: "Stm32F746gDisco", Firmware: "1.2.0"}, ok: true},
		{name: "another board", policy: v1alpha1.Measurement{Board: "FrdmK64f"}},
		{name: "another version", policy: v1alpha1.Measurement{Firmware: "1.1.0"}},
		{name: "another firmware", policy: v1alpha1.Measurement{Digest: "sha256:" + strings.Repeat("00", 32)}},
		{name: "none", spoil: func(q *event.EnrollmentRequest) { q.Signature = nil }},
		{name: "format", spoil: func(q *event.EnrollmentRequest) { q.EvidenceFormat = 2 }},
		{name: "replayed from another session", spoil: func(q *event.EnrollmentRequest) {
			q.EvidenceNonce = []byte("fedcba9876543210")
			q.Signature = sign(k, q.EvidenceNonce)
		}},
		{name: "nonce swapped", spoil: func(q *event.EnrollmentRequest) { q.Signature = sign(k, []byte("fedcba9876543210")) }},
		{name: "another key's signature", spoil: func(q *event.EnrollmentRequest) { q.Signature = sign(other, q.Nonce) }},
		{name: "measurement swapped", spoil: func(q *event.EnrollmentRequest) { m := sha256.Sum256([]byte("x")); q.Measurement = m[:] }},
		{name: "short measurement", spoil: func(q *event.EnrollmentRequest) { q.Measurement = measurement[:8] }},
	} {
		t.Run(x.name, func(t *testing.T) {
			b := start(t)
			b.gateway(func(g *v1alpha1.Gateway) {
				m := x.policy
				if m.Digest == "" {
					m.Digest = "sha256:" + hex.EncodeToString(measurement[:])
				}
				g.Spec.Pairing.Approval = v1alpha1.PairingAutomatic
				g.Spec.Attestation = v1alpha1.AttestationPolicy{Mode: v1alpha1.AttestationRequire, Measurements: []v1alpha1.Measurement{m}}
			})
			v, _ := b.ask(k, func(q *event.EnrollmentRequest) {
				good(q)
				if x.spoil != nil {
					x.spoil(q)
				}
			})
			if x.ok && v.Status != "Accepted" || !x.ok && (v.Status != "Rejected" || v.Reason != "AttestationFailed" || v.Message == "") {
				t.Errorf("%+v", v)
			}
			if items, _, _ := b.set.Devices.List(t.Context(), ns, client.ListOptions{}); len(items) > 0 != x.ok {
				t.Errorf("%d devices were made", len(items))
			}
		})
	}
}

func TestDeletedDeviceIsDeniedAlsoAfterTheLedgerWasLost(t *testing.T) {
	b := start(t)
	b.redo = true
	b.gateway(func(g *v1alpha1.Gateway) { g.Spec.Pairing.Approval = v1alpha1.PairingAutomatic })
	gone, revoked := newKey(t), newKey(t)
	b.ask(gone, func(q *event.EnrollmentRequest) { q.WantedName = "gone" })
	b.ask(revoked, func(q *event.EnrollmentRequest) { q.WantedName = "revoked" })
	b.approve("revoked", v1alpha1.ApprovalRevoked)
	if err := b.set.Devices.Delete(t.Context(), ns, "gone"); err != nil {
		t.Fatal(err)
	}
	if reply := b.changed("Device", "gone"); reply == nil || reply.Type() != event.DeviceRevoked {
		t.Errorf("reply %v", reply)
	}
	if _, err := b.set.Devices.Get(t.Context(), ns, "gone"); !errs.Is(err, errs.NotFound) {
		t.Fatal(err)
	}
	before, err := b.l.Denied(t.Context(), ns)
	if err != nil || len(before) != 2 {
		t.Fatal(before, err)
	}
	fresh := ledger.New(testredis.Start(t).Client(t), ledger.Options{Now: func() time.Time { return b.now }})
	b.l = fresh
	b.f.d.Ledger = fresh
	b.handle(b.event(event.LedgerLost, "gw", event.Lost{Era: "5f2b1c0d9e8a7766", By: "gw-1"}))
	after, err := fresh.Denied(t.Context(), ns)
	if err != nil || !reflect.DeepEqual(before, after) {
		t.Errorf("denied %v, want %v (%v)", after, before, err)
	}
	if _, err := fresh.Trust(t.Context(), ns); err != nil {
		t.Error(err)
	}
	if g, err := fresh.Gateway(t.Context(), ns, "main"); err != nil || g.Address != "gw:8081" || g.PairingApproval != "Automatic" {
		t.Errorf("%+v %v", g, err)
	}

	// It enrolls again, in the open window: a new admission.
	if v, _ := b.ask(gone, func(q *event.EnrollmentRequest) { q.WantedName = "gone" }); v.Status != "Accepted" {
		t.Errorf("%+v", v)
	}
	if m, _ := fresh.Denied(t.Context(), ns); len(m) != 1 {
		t.Errorf("denied %v", m)
	}
	// And entries whose certificates have ended are dropped.
	b.set.Devices.Delete(t.Context(), ns, "gone")
	b.changed("Device", "gone")
	fp := fingerprint(spkiOf(t, gone))
	b.now = b.now.Add(8 * 24 * time.Hour)
	if err := b.f.editRevoked(t.Context(), ns, fp[:1]+strings.Repeat("0", 63), &revokedKey{Until: b.now.Add(time.Hour), Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	s, err := b.set.Secrets.Get(t.Context(), CANamespace, revokedSecret(fp))
	if err != nil || len(s.Data) != 1 {
		t.Errorf("%d entries, %v", len(s.Data), err)
	}
}

func FuzzParseCSR(f *testing.F) {
	f.Add(csrOf(f, newKey(f)))
	f.Add([]byte{0x30, 0x82})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, bad := parseCSR(b)
		if (bad == "") != (r.key != nil) {
			t.Errorf("key %v, %q", r.key, bad)
		}
	})
}

func TestDefaultNames(t *testing.T) {
	for board, want := range map[string]string{"Stm32F746gDisco": "stm32f746gdisco-0123", "": "device-0123", "Ünicode Board!": "nicode-board-0123", strings.Repeat("X", 99): strings.Repeat("x", 40) + "-0123"} {
		if got := defaultName(board, "0123"); got != want {
			t.Errorf("%q: %s, want %s", board, got, want)
		}
	}
	b := start(t)
	b.gateway(nil)
	k := newKey(t)
	fp := fingerprint(spkiOf(t, k))
	taken := &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "stm32f746gdisco-" + fp[:8]}, Spec: v1alpha1.DeviceSpec{Board: "x"}}
	if _, err := b.set.Devices.Create(t.Context(), taken); err != nil {
		t.Fatal(err)
	}
	if v, _ := b.ask(k, nil); v.Device.Name != "stm32f746gdisco-"+fp[:12] {
		t.Errorf("%+v", v)
	}
}
