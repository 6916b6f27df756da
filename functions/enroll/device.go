package enroll

import (
	"context"
	"slices"
	"strings"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// Reasons of the Enrolled condition, beside those of a verdict.
const (
	reasonIssued         = "CertificateIssued"
	reasonExpired        = "CertificateExpired"
	reasonAwaitingDevice = "AwaitingDevice"
)

// device brings the deny-list, a waiting session and the Enrolled condition in line with a Device object.
func (f *Function) device(ctx context.Context, e ce.Event, who event.Device) (*ce.Event, error) {
	for range conflictAttempts {
		reply, err := f.tryDevice(ctx, e, who)
		if !errs.Is(err, errs.Conflict) {
			return reply, err
		}
	}
	return nil, errs.New(errs.Conflict, "device %s changes too fast", who)
}

func (f *Function) tryDevice(ctx context.Context, e ce.Event, who event.Device) (*ce.Event, error) {
	d, err := f.d.Client.Devices.Get(ctx, who.Namespace, who.Name)
	if errs.Is(err, errs.NotFound) {
		// The finalizer saw to everything. What an earlier delivery meant to say is said.
		return f.recall(ctx, e)
	}
	if err != nil {
		return nil, err
	}
	if d.DeletionTimestamp != nil {
		return f.leave(ctx, e, d)
	}
	if mark(d) {
		if d, err = f.d.Client.Devices.UpdateMeta(ctx, d); err != nil {
			return nil, ignoreNotFound(err)
		}
	}
	was, want := "", condition(d, f.d.Now())
	if c := enrolled(d); c != nil {
		was = c.Reason
	}
	if was == want.Reason {
		if err := f.writeStatus(ctx, who, d, nil); err != nil { // its message or generation may have changed
			return nil, ignoreNotFound(err)
		}
		if out(was) {
			return f.recall(ctx, e)
		}
		return nil, nil
	}
	fp := keyOf(d)
	var reply *ce.Event
	switch {
	case out(want.Reason) && fp != "":
		// Denied first: a crash after it denies again.
		if err := f.d.Ledger.Deny(ctx, d.Namespace, fp, want.Reason); err != nil {
			return nil, err
		}
		reply, err = f.reply(e, event.DeviceRevoked, event.EnrollmentVerdict{Device: who, KeyFingerprint: fp, Status: "Revoked", Reason: want.Reason, Message: want.Message})
		if err != nil {
			return nil, err
		}
		if err := f.remember(ctx, e, reply); err != nil {
			return nil, err
		}
		if err := f.wakeWaiting(ctx, who, fp); err != nil {
			return nil, err
		}
	case d.Spec.Approval == v1alpha1.ApprovalApproved && fp != "":
		if out(was) {
			if err := f.allow(ctx, d.Namespace, fp); err != nil {
				return nil, err
			}
		}
		if err := f.wakeWaiting(ctx, who, fp); err != nil {
			return nil, err
		}
	}
	if err := f.writeStatus(ctx, who, d, nil); err != nil {
		return nil, ignoreNotFound(err)
	}
	return reply, nil
}

// leave undoes what enroll made of a device that is being deleted: its key is denied for as long as a
// certificate of it may live.
func (f *Function) leave(ctx context.Context, e ce.Event, d *v1alpha1.Device) (*ce.Event, error) {
	i := slices.Index(d.Finalizers, v1alpha1.FinalizerEnroll)
	if i < 0 {
		return f.recall(ctx, e)
	}
	var reply *ce.Event
	for _, fp := range certified(d) {
		until := f.d.Now().Add(maxLife)
		if c := d.Status.Certificate; c != nil {
			until = c.NotAfter.Time
		}
		if err := f.revoke(ctx, d.Namespace, fp, "Deleted", until); err != nil {
			return nil, err
		}
		var err error
		who := event.Device{Namespace: d.Namespace, Name: d.Name}
		reply, err = f.reply(e, event.DeviceRevoked, event.EnrollmentVerdict{Device: who, KeyFingerprint: fp, Status: "Revoked", Reason: "Deleted", Message: "the Device object was deleted"})
		if err != nil {
			return nil, err
		}
		if err := f.remember(ctx, e, reply); err != nil {
			return nil, err
		}
	}
	d.Finalizers = slices.Delete(d.Finalizers, i, i+1)
	if _, err := f.d.Client.Devices.UpdateMeta(ctx, d); err != nil {
		return nil, ignoreNotFound(err)
	}
	return reply, nil
}

// certified returns the fingerprints of the keys that were given a certificate.
func certified(d *v1alpha1.Device) []string {
	var out []string
	if c := d.Status.Certificate; c != nil && c.Fingerprint != "" {
		out = append(out, c.Fingerprint)
	}
	// The status may have missed the last one.
	if k := pinned(d); len(k) > 0 && d.Spec.Approval != v1alpha1.ApprovalPending {
		if fp := fingerprint(k); !slices.Contains(out, fp) {
			out = append(out, fp)
		}
	}
	return out
}

// keyOf returns the fingerprint of a device's pinned key, or else of the one last certified, or "".
func keyOf(d *v1alpha1.Device) string {
	if k := pinned(d); len(k) > 0 {
		return fingerprint(k)
	}
	if c := d.Status.Certificate; c != nil {
		return c.Fingerprint
	}
	return ""
}

// wakeWaiting tells a session that waits for approval to ask again now.
func (f *Function) wakeWaiting(ctx context.Context, who event.Device, fp string) error {
	_, v, err := f.d.Ledger.Once(ctx, waitingSource(who.Namespace), fp)
	if err != nil {
		return err
	}
	instance, session, ok := strings.Cut(v, "\n")
	if !ok {
		return nil
	}
	return f.d.Ledger.PutVerdict(ctx, instance, session, ledger.Verdict{Status: statusPending, Reason: reasonAwaitingApproval, Device: who, Message: "ask again"})
}

func out(reason string) bool { return reason == reasonRevoked || reason == reasonRejected }

func enrolled(d *v1alpha1.Device) *metav1.Condition {
	return meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionEnrolled)
}

// writeStatus writes certificate and condition, when they differ. report writes other fields of the same
// status: hence read, modify, write, and again on Conflict. d, when given, is what was read just now.
// NotFound when the device is gone.
func (f *Function) writeStatus(ctx context.Context, who event.Device, d *v1alpha1.Device, change func(*v1alpha1.Device)) error {
	for range conflictAttempts {
		if d == nil {
			var err error
			if d, err = f.d.Client.Devices.Get(ctx, who.Namespace, who.Name); err != nil {
				return err
			}
		}
		old := d.Status.DeepCopy()
		if change != nil {
			change(d)
		}
		meta.SetStatusCondition(&d.Status.Conditions, condition(d, f.d.Now()))
		d.Status.ObservedGeneration = d.Generation
		if equality.Semantic.DeepEqual(old, &d.Status) {
			return nil
		}
		if _, err := f.d.Client.Devices.UpdateStatus(ctx, d); !errs.Is(err, errs.Conflict) {
			return err
		}
		d = nil
	}
	return errs.New(errs.Conflict, "status of device %s changes too fast", who)
}

// condition is Enrolled as it follows from spec and certificate.
func condition(d *v1alpha1.Device, now time.Time) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionEnrolled, Status: metav1.ConditionFalse, ObservedGeneration: d.Generation, LastTransitionTime: metav1.NewTime(now)}
	cert, key := d.Status.Certificate, pinned(d)
	switch {
	case d.Spec.Approval == v1alpha1.ApprovalRevoked:
		c.Reason, c.Message = reasonRevoked, "approval is revoked; the device's key is denied"
	case d.Spec.Approval == v1alpha1.ApprovalRejected:
		c.Reason, c.Message = reasonRejected, "the device was rejected; its key is denied"
	case d.Spec.Approval != v1alpha1.ApprovalApproved && len(key) > 0:
		c.Reason, c.Message = reasonAwaitingApproval, "the device asked for a certificate and waits for approval (spec.approval: Approved)"
	case cert == nil || len(key) == 0 || cert.Fingerprint != fingerprint(key):
		c.Reason, c.Message = reasonAwaitingDevice, "the device has not asked for a certificate yet"
	case !now.Before(cert.NotAfter.Time):
		c.Reason, c.Message = reasonExpired, "the certificate ended "+cert.NotAfter.UTC().Format(time.RFC3339)
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, reasonIssued, "the certificate is valid until "+cert.NotAfter.UTC().Format(time.RFC3339)
	}
	return c
}

func ignoreNotFound(err error) error {
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}
