package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The defaults of the API. The API server applies them from the CRDs' schemas, where they stand a second
// time as kubebuilder markers; the Default methods are for what never was in an API server (the in-memory
// client). A test on a real API server keeps the two equal.
const (
	DefaultMemoryPages          = 1
	DefaultStackBytes           = 4096
	DefaultCallTimeout          = time.Second
	DefaultHealthWindow         = 10 * time.Second
	DefaultMaxTraps             = 3
	DefaultTrapPeriod           = time.Minute
	DefaultMaxUnavailable       = "25%"
	DefaultFailureThreshold     = 1
	DefaultProgressDeadline     = 5 * time.Minute
	DefaultAutomaticRollback    = true
	DefaultRevisionHistoryLimit = 5
	DefaultHeartbeat            = 10 * time.Second
	DefaultCertificateLife      = 7 * 24 * time.Hour
	DefaultMaxDevices           = 100_000
	DefaultMaxFrame             = 16 << 10
	DefaultPreAuthPerAddress    = 256
	DefaultMaxAttempts          = 10
	DefaultDisableAfter         = 24 * time.Hour
	DefaultHookRate             = 60
	DefaultHookTolerance        = 5 * time.Minute
	DefaultHookHeader           = "Authorization"
)

// DefaultPermissions returns the host function groups of a manifest that names none.
func DefaultPermissions() []Permission {
	return []Permission{PermissionLog, PermissionClock, PermissionTelemetry}
}

// Default sets what was left out.
func (d *Device) Default() {
	set(&d.Spec.Approval, ApprovalPending)
	if e := d.Spec.Emulation; e != nil {
		set(&e.State, EmulationRunning)
	}
}

// Default sets what was left out.
func (a *Application) Default() {
	s := &a.Spec
	set(&s.State, RunStateRunning)
	setPointer(&s.RevisionHistoryLimit, DefaultRevisionHistoryLimit)
	s.Manifest.Default()
	r := &s.Rollout
	setPointer(&r.MaxUnavailable, intstr.FromString(DefaultMaxUnavailable))
	setPointer(&r.FailureThreshold, intstr.FromInt32(DefaultFailureThreshold))
	setPointer(&r.ProgressDeadline, metav1.Duration{Duration: DefaultProgressDeadline})
	setPointer(&r.AutomaticRollback, DefaultAutomaticRollback)
}

// Default sets what was left out.
func (m *Manifest) Default() {
	set(&m.Limits.MemoryPages, DefaultMemoryPages)
	set(&m.Limits.StackBytes, DefaultStackBytes)
	setPointer(&m.Limits.CallTimeout, metav1.Duration{Duration: DefaultCallTimeout})
	if m.Permissions == nil {
		m.Permissions = DefaultPermissions()
	}
	setPointer(&m.Health.Window, metav1.Duration{Duration: DefaultHealthWindow})
	set(&m.Health.MaxTraps, DefaultMaxTraps)
	setPointer(&m.Health.TrapPeriod, metav1.Duration{Duration: DefaultTrapPeriod})
}

// Default sets what was left out.
func (r *Revision) Default() { r.Spec.Manifest.Default() }

// Default sets what was left out.
func (g *Gateway) Default() {
	s := &g.Spec
	setPointer(&s.Heartbeat, metav1.Duration{Duration: DefaultHeartbeat})
	set(&s.Pairing.Approval, PairingManual)
	setPointer(&s.Certificate.Life, metav1.Duration{Duration: DefaultCertificateLife})
	set(&s.Limits.MaxDevices, DefaultMaxDevices)
	set(&s.Limits.MaxFrame, DefaultMaxFrame)
	set(&s.Limits.PreAuthPerAddress, DefaultPreAuthPerAddress)
	set(&s.Attestation.Mode, AttestationNone)
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func setPointer[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

// Default sets what was left out.
func (w *Webhook) Default() {
	set(&w.Spec.Format, FormatStructured)
	set(&w.Spec.Handshake, HandshakeAsk)
	set(&w.Spec.MaxAttempts, DefaultMaxAttempts)
	setPointer(&w.Spec.DisableAfter, metav1.Duration{Duration: DefaultDisableAfter})
}

// Default sets what was left out.
func (w *WebhookSource) Default() {
	set(&w.Spec.Verify.Scheme, SchemeStandard)
	set(&w.Spec.Verify.Header, DefaultHookHeader)
	setPointer(&w.Spec.Verify.Tolerance, metav1.Duration{Duration: DefaultHookTolerance})
	set(&w.Spec.RatePerMinute, DefaultHookRate)
}
