package enroll

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/notice"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// Reasons of a verdict, in the words of the device protocol (protocol.Reason).
const (
	reasonNotPaired         = "NotPaired"
	reasonClaimInvalid      = "ClaimInvalid"
	reasonNameTaken         = "NameTaken"
	reasonKeyMismatch       = "KeyMismatch"
	reasonAttestationFailed = "AttestationFailed"
	reasonRejected          = "Rejected"
	reasonRevoked           = "Revoked"
	reasonAwaitingApproval  = "AwaitingApproval"
	reasonBadRequest        = "BadRequest"
)

// Statuses of a verdict.
const (
	statusAccepted = "Accepted"
	statusPending  = "Pending"
	statusRejected = "Rejected"
)

// labelKey carries the first 40 hex digits of a device's key fingerprint, so that a key is found without
// reading the fleet. The whole key is always compared.
const labelKey = "wasmbed.io/key"

func keyLabel(fp string) string { return fp[:min(len(fp), 40)] }

// record is a decision. One that brings a certificate is kept before anything is made of it, so that the
// same request, delivered again, gets the same certificate and the same answer. The others are the same
// again by themselves, and devices that wait ask every few seconds: keeping those would fill the ledger.
type record struct {
	Verdict     ledger.Verdict              `json:"verdict"`
	Certificate *v1alpha1.CertificateStatus `json:"certificate,omitempty"` // Accepted
	Ours        bool                        `json:"ours,omitempty"`        // the key is Verdict.Device's: its status is written
	Reply       *ce.Event                   `json:"reply,omitempty"`
}

// requested decides about a request for a certificate.
func (f *Function) requested(ctx context.Context, e ce.Event) (*ce.Event, error) {
	q, err := event.Data[event.EnrollmentRequest](e)
	if err != nil {
		return nil, err
	}
	if q.Namespace == "" || q.Gateway == "" || q.Instance == "" || q.Session == "" || q.KeyFingerprint == "" {
		return nil, errs.New(errs.Invalid, "%s without namespace, gateway, instance, session or key fingerprint", e.Type())
	}
	rec, err := f.decide(ctx, e, q)
	if err != nil {
		return nil, err
	}
	if rec.Verdict.Status == statusPending && rec.Ours {
		// Where a person's approval is told to the device at once.
		if err := f.d.Ledger.SetOnce(ctx, waitingSource(q.Namespace), q.KeyFingerprint, q.Instance+"\n"+q.Session); err != nil {
			return nil, err
		}
	}
	if err := f.d.Ledger.PutVerdict(ctx, q.Instance, q.Session, rec.Verdict); err != nil {
		return nil, err
	}
	if rec.Ours {
		err := f.writeStatus(ctx, rec.Verdict.Device, nil, func(d *v1alpha1.Device) {
			c := d.Status.Certificate
			if n := rec.Certificate; n != nil && (c == nil || c.Fingerprint != n.Fingerprint || c.NotAfter.Before(&n.NotAfter)) {
				d.Status.Certificate = n.DeepCopy()
			}
		})
		if err != nil && !errs.Is(err, errs.NotFound) { // deleted meanwhile
			return nil, err
		}
	}
	return rec.Reply, nil
}

// waitingSource and the key's fingerprint name the session that waits for approval.
func waitingSource(namespace string) string { return Name + " waiting " + namespace }

// decide creates or pins what is needed and returns the verdict.
func (f *Function) decide(ctx context.Context, e ce.Event, q event.EnrollmentRequest) (record, error) {
	g, err := f.d.Client.Gateways.Get(ctx, q.Namespace, q.Gateway)
	if errs.Is(err, errs.NotFound) {
		// Not the device's fault, and a person can mend it at any moment.
		return record{Verdict: ledger.Verdict{Status: statusPending, Reason: reasonNotPaired, RetryAfter: retryPending,
			Message: fmt.Sprintf("there is no Gateway object %s/%s", q.Namespace, q.Gateway)}}, nil
	}
	if err != nil {
		return record{}, err
	}
	req, bad := parseCSR(q.CSR)
	if bad != "" {
		return f.refuse(ctx, e, q, g, event.Device{}, reasonBadRequest, bad, retryRejected)
	}
	if q.Renewal != "" {
		return f.renew(ctx, e, q, g, req)
	}
	if req.fingerprint != strings.ToLower(q.KeyFingerprint) {
		return f.refuse(ctx, e, q, g, event.Device{}, reasonKeyMismatch, "the certificate request's key is not the key of the session", retryRejected)
	}
	ev := evidence{Format: q.EvidenceFormat, Measurement: q.Measurement, Signature: q.Signature, Nonce: q.EvidenceNonce,
		SessionNonce: q.Nonce, Key: req.key, SPKI: req.spki, Board: q.Board, FirmwareVer: q.Firmware}
	if bad := ev.verify(g.Spec.Attestation); bad != "" {
		return f.refuse(ctx, e, q, g, event.Device{}, reasonAttestationFailed, bad, retryRejected)
	}
	for attempt := range createAttempts {
		d, refused, err := f.admit(ctx, q, g, req, attempt)
		switch {
		case errs.Is(err, errs.Conflict), errs.Is(err, errs.AlreadyExists):
			continue // somebody else wrote it meanwhile: look again
		case errs.Is(err, errs.Invalid):
			return f.refuse(ctx, e, q, g, event.Device{}, reasonBadRequest, err.Error(), retryRejected)
		case err != nil:
			return record{}, err
		case refused.reason != "":
			return f.refuse(ctx, e, q, g, refused.device, refused.reason, refused.message, refused.retry)
		}
		return f.judge(ctx, e, q, g, d, req)
	}
	return record{}, errs.New(errs.Conflict, "device %s/%s changes too fast", q.Namespace, q.WantedName)
}

type refusal struct {
	device          event.Device
	reason, message string
	retry           time.Duration
}

// admit finds the device that a key belongs to, or pins the key to one that waits for it, or makes one.
func (f *Function) admit(ctx context.Context, q event.EnrollmentRequest, g *v1alpha1.Gateway, req request, attempt int) (*v1alpha1.Device, refusal, error) {
	open := g.Spec.Pairing.Until != nil && f.d.Now().Before(g.Spec.Pairing.Until.Time)
	if q.WantedName != "" {
		if msgs := validation.IsDNS1123Label(q.WantedName); len(msgs) > 0 {
			return nil, refusal{reason: reasonBadRequest, message: "the wanted name is not a DNS label: " + msgs[0], retry: retryRejected}, nil
		}
	}
	var named *v1alpha1.Device
	if q.WantedName != "" {
		d, err := f.d.Client.Devices.Get(ctx, q.Namespace, q.WantedName)
		switch {
		case errs.Is(err, errs.NotFound):
		case err != nil:
			return nil, refusal{}, err
		case bytes.Equal(pinned(d), req.spki):
			return d, refusal{}, nil
		default:
			named = d
		}
	}
	d, err := f.byKey(ctx, q.Namespace, req)
	if err != nil || d != nil {
		return d, refusal{}, err
	}
	notPaired := refusal{reason: reasonNotPaired, retry: retryNotPaired,
		message: fmt.Sprintf("the pairing window of gateway %s is closed", g.Name)}
	if named == nil {
		switch {
		case open:
			d, err := f.create(ctx, q, g, req, attempt)
			return d, refusal{}, err
		case len(q.Claim) > 0:
			return nil, refusal{reason: reasonClaimInvalid, message: "no device of that name has a claim", retry: retryNotPaired}, nil
		}
		return nil, notPaired, nil
	}
	who := event.Device{Namespace: named.Namespace, Name: named.Name}
	id := named.Spec.Identity
	switch {
	case named.DeletionTimestamp != nil:
		return nil, refusal{device: who, reason: reasonNameTaken, message: "the device of that name is being deleted", retry: retryPending}, nil
	case len(pinned(named)) > 0:
		return nil, refusal{device: who, reason: reasonNameTaken, message: fmt.Sprintf("the name %s belongs to another key", named.Name), retry: retryRejected}, nil
	case id != nil && id.ClaimDigest != "":
		if !claimMatches(q.Claim, id.ClaimDigest) {
			return nil, refusal{device: who, reason: reasonClaimInvalid, message: "the claim is not the device's", retry: retryNotPaired}, nil
		}
	case !open:
		return nil, notPaired, nil
	}
	d, err = f.pin(ctx, named, req)
	return d, refusal{}, err
}

// byKey returns the device whose pinned key it is, or nil.
func (f *Function) byKey(ctx context.Context, namespace string, req request) (*v1alpha1.Device, error) {
	var found *v1alpha1.Device
	err := client.All(ctx, f.d.Client.Devices, namespace, labelKey+"="+keyLabel(req.fingerprint), func(d *v1alpha1.Device) error {
		if found == nil && bytes.Equal(pinned(d), req.spki) {
			found = d.DeepCopy()
		}
		return nil
	})
	return found, err
}

// create makes the Device of an unknown device, under the name that it wants or <board>-<8 hex of the key>;
// with more of the key when that name is taken.
func (f *Function) create(ctx context.Context, q event.EnrollmentRequest, g *v1alpha1.Gateway, req request, attempt int) (*v1alpha1.Device, error) {
	name := q.WantedName
	if name == "" {
		name = defaultName(q.Board, req.fingerprint[:8+4*attempt])
	}
	d := &v1alpha1.Device{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: q.Namespace, Name: name, Finalizers: []string{v1alpha1.FinalizerEnroll},
			Labels: map[string]string{labelKey: keyLabel(req.fingerprint), v1alpha1.LabelManagedBy: "wasmbed-" + Name},
		},
		Spec: v1alpha1.DeviceSpec{Board: q.Board, Approval: v1alpha1.ApprovalPending, Identity: &v1alpha1.DeviceIdentity{PublicKey: req.spki}},
	}
	if len(validation.IsValidLabelValue(q.Board)) == 0 {
		d.Labels[v1alpha1.LabelBoard] = q.Board
	}
	if g.Spec.Pairing.Approval == v1alpha1.PairingAutomatic {
		d.Spec.Approval = v1alpha1.ApprovalApproved
	}
	return f.d.Client.Devices.Create(ctx, d)
}

// pin gives a device its key. The former key, when there was one, is denied from now on.
func (f *Function) pin(ctx context.Context, d *v1alpha1.Device, req request) (*v1alpha1.Device, error) {
	if old := d.Status.Certificate; old != nil && old.Fingerprint != "" && old.Fingerprint != req.fingerprint {
		if err := f.revoke(ctx, d.Namespace, old.Fingerprint, "KeyReplaced", old.NotAfter.Time); err != nil {
			return nil, err
		}
	}
	if d.Spec.Identity == nil {
		d.Spec.Identity = &v1alpha1.DeviceIdentity{}
	}
	d.Spec.Identity.PublicKey = req.spki
	mark(d)
	return f.d.Client.Devices.Update(ctx, d)
}

// mark sets the finalizer and the key's label, and says whether that changed anything.
func mark(d *v1alpha1.Device) bool {
	changed := false
	if !slices.Contains(d.Finalizers, v1alpha1.FinalizerEnroll) {
		d.Finalizers = append(d.Finalizers, v1alpha1.FinalizerEnroll)
		changed = true
	}
	want := ""
	if k := pinned(d); len(k) > 0 {
		want = keyLabel(fingerprint(k))
	}
	if d.Labels[labelKey] != want {
		if d.Labels == nil {
			d.Labels = map[string]string{}
		}
		d.Labels[labelKey] = want
		if want == "" {
			delete(d.Labels, labelKey)
		}
		changed = true
	}
	return changed
}

func pinned(d *v1alpha1.Device) []byte {
	if d.Spec.Identity == nil {
		return nil
	}
	return d.Spec.Identity.PublicKey
}

// defaultName is <board>-<part of the key>, the board in lower case and cut to what a DNS label allows.
func defaultName(board, part string) string {
	b := strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, board)
	if b = strings.Trim(b[:min(len(b), 40)], "-"); b == "" {
		b = "device"
	}
	return b + "-" + part
}

// renew decides about a live session's request for a new certificate.
func (f *Function) renew(ctx context.Context, e ce.Event, q event.EnrollmentRequest, g *v1alpha1.Gateway, req request) (record, error) {
	who := event.Device{Namespace: q.Namespace, Name: q.Renewal}
	for range conflictAttempts {
		d, err := f.d.Client.Devices.Get(ctx, who.Namespace, who.Name)
		switch {
		case errs.Is(err, errs.NotFound):
			return f.refuse(ctx, e, q, g, who, reasonRevoked, "there is no such device any more", retryRejected)
		case err != nil:
			return record{}, err
		}
		if key := pinned(d); len(key) == 0 && d.DeletionTimestamp == nil {
			// A person cleared the identity: the way to let a device change its key.
			if d, err = f.pin(ctx, d, req); errs.Is(err, errs.Conflict) {
				continue
			} else if err != nil {
				return record{}, err
			}
		} else if !bytes.Equal(key, req.spki) {
			return f.refuse(ctx, e, q, g, who, reasonKeyMismatch, "a renewal keeps the pinned key, unless spec.identity is cleared first", retryRejected)
		}
		return f.judge(ctx, e, q, g, d, req)
	}
	return record{}, errs.New(errs.Conflict, "device %s changes too fast", who)
}

// judge decides about a device whose key it is: by its approval.
func (f *Function) judge(ctx context.Context, e ce.Event, q event.EnrollmentRequest, g *v1alpha1.Gateway, d *v1alpha1.Device, req request) (record, error) {
	who := event.Device{Namespace: d.Namespace, Name: d.Name}
	switch {
	case d.DeletionTimestamp != nil:
		return f.refuse(ctx, e, q, g, who, reasonRevoked, "the device is being deleted", retryRejected)
	case d.Spec.Approval == v1alpha1.ApprovalRevoked:
		return f.refuse(ctx, e, q, g, who, reasonRevoked, "the device's approval is revoked", retryRejected)
	case d.Spec.Approval == v1alpha1.ApprovalRejected:
		return f.refuse(ctx, e, q, g, who, reasonRejected, "the device was rejected", retryRejected)
	case d.Spec.Gateway != "" && d.Spec.Gateway != g.Name:
		return f.refuse(ctx, e, q, g, who, reasonRejected, fmt.Sprintf("the device belongs to gateway %s, not %s", d.Spec.Gateway, g.Name), retryRejected)
	case d.Spec.Approval != v1alpha1.ApprovalApproved:
		return f.pend(ctx, e, q, who)
	}
	return f.issue(ctx, e, q, g, d, req)
}

// pend makes a device wait for a person. It asks again every few seconds; the world is told once a day.
func (f *Function) pend(ctx context.Context, e ce.Event, q event.EnrollmentRequest, who event.Device) (record, error) {
	rec := record{Ours: true, Verdict: ledger.Verdict{Status: statusPending, Reason: reasonAwaitingApproval, RetryAfter: retryPending, Device: who,
		Message: "waits for a person's approval"}}
	key := Name + " pended " + who.Namespace
	_, said, err := f.d.Ledger.Once(ctx, key, q.KeyFingerprint)
	switch {
	case err != nil:
		return record{}, err
	case said == "":
		if err := f.d.Ledger.SetOnce(ctx, key, q.KeyFingerprint, e.ID()); err != nil {
			return record{}, err
		}
	case said != e.ID():
		return rec, nil
	}
	return f.withReply(e, q, rec, event.DeviceEnrollmentPended)
}

// issue makes the certificate, once per request.
func (f *Function) issue(ctx context.Context, e ce.Event, q event.EnrollmentRequest, g *v1alpha1.Gateway, d *v1alpha1.Device, req request) (record, error) {
	key := Name + " certificate " + e.Source()
	_, said, err := f.d.Ledger.Once(ctx, key, e.ID())
	if err != nil {
		return record{}, err
	}
	var rec record
	if said != "" {
		if err := json.Unmarshal([]byte(said), &rec); err != nil {
			return record{}, errs.New(errs.Internal, "remembered verdict on %s: %w", q.Session, err)
		}
		return rec, nil
	}
	ca, err := f.ca.get(ctx, f.d.Now())
	if err != nil {
		return record{}, err
	}
	life := defaultLife
	if l := g.Spec.Certificate.Life; l != nil && l.Duration > 0 {
		life = l.Duration
	}
	cert, err := ca.Issue(f.d.TrustDomain, d.Namespace, d.Name, req.key, f.d.Now(), life)
	if err != nil {
		return record{}, err
	}
	// The key may have been denied as a former device's, or before a person thought better of it.
	if err := f.allow(ctx, d.Namespace, req.fingerprint); err != nil {
		return record{}, err
	}
	rec, err = f.withReply(e, q, record{
		Ours:        true,
		Verdict:     ledger.Verdict{Status: statusAccepted, Chain: cert.Chain, Device: event.Device{Namespace: d.Namespace, Name: d.Name}},
		Certificate: &v1alpha1.CertificateStatus{Serial: cert.Serial, NotAfter: metav1.NewTime(cert.NotAfter), Fingerprint: req.fingerprint},
	}, event.DeviceEnrolled)
	if err != nil {
		return record{}, err
	}
	b, err := json.Marshal(rec)
	if err != nil {
		return record{}, errs.New(errs.Internal, "verdict on %s: %w", q.Session, err)
	}
	return rec, f.d.Ledger.SetOnce(ctx, key, e.ID(), string(b))
}

// refuse makes a rejection, and a notice for people.
func (f *Function) refuse(ctx context.Context, e ce.Event, q event.EnrollmentRequest, g *v1alpha1.Gateway, d event.Device, reason, message string, retry time.Duration) (record, error) {
	about := notice.About{Kind: v1alpha1.KindGateway, Namespace: g.Namespace, Name: g.Name, UID: g.UID}
	from := fmt.Sprintf("key %.16s… (board %s)", q.KeyFingerprint, q.Board)
	if d.Name != "" {
		about = notice.About{Kind: v1alpha1.KindDevice, Namespace: d.Namespace, Name: d.Name}
	} else {
		d = event.Device{Namespace: q.Namespace, Name: q.WantedName}
	}
	f.warn(ctx, about, "EnrollmentRefused", fmt.Sprintf("%s asked for a certificate and was refused: %s: %s", from, reason, message))
	rec := record{Verdict: ledger.Verdict{Status: statusRejected, Reason: reason, Message: message, RetryAfter: retry, Device: d}}
	return f.withReply(e, q, rec, event.DeviceEnrollmentRejected)
}

func (f *Function) withReply(e ce.Event, q event.EnrollmentRequest, rec record, typ string) (record, error) {
	v := rec.Verdict
	d := v.Device
	if d.Name == "" {
		d.Name = q.KeyFingerprint // a subject needs a name; nobody has one yet
	}
	reply, err := f.reply(e, typ, event.EnrollmentVerdict{Device: d, KeyFingerprint: q.KeyFingerprint, Status: v.Status, Reason: v.Reason, Message: v.Message})
	rec.Reply = reply
	return rec, err
}
