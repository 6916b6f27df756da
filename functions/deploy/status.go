package deploy

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/functions/deploy/plan"
)

// Reasons of the conditions.
const (
	reasonReady       = "DevicesReady"
	reasonProgressing = "RolloutProgressing"
	reasonRollingBack = "RollingBack"
	reasonComplete    = "RolloutComplete"
	reasonFailed      = "RolloutFailed"
	reasonPaused      = "Paused"
	reasonNoTargets   = "NoTargets"
	reasonAway        = "DevicesAway"
	reasonDevFailed   = "DevicesFailed"
	reasonHeld        = "DevicesHeld"
	reasonSpecChanged = "SpecChanged"
)

// finish writes the status as it follows from the counts. next is nil when there is no revision.
func (p *pass) finish(ctx context.Context, c ledger.Counts, next *plan.Plan) error {
	s := &p.app.Status
	now := p.f.d.Now()
	s.ObservedGeneration = p.app.Generation
	if p.rev != nil {
		s.Revision, s.Digest = p.rev.Name, p.rev.Spec.Module.Digest
	}
	counted(s, c)
	ready, progressing := p.conditions(c)
	for _, x := range []metav1.Condition{ready, progressing} {
		x.ObservedGeneration, x.LastTransitionTime = p.app.Generation, metav1.NewTime(now)
		meta.SetStatusCondition(&s.Conditions, x)
	}
	s.Condition = word(ready, s.Conditions)
	if p.problem != nil && p.problem.reason == reasonModuleUnavailable {
		if err := p.f.wake(ctx, p.key, now.Add(retryModule)); err != nil {
			return err
		}
	}
	if next != nil && !next.Wake.IsZero() && !p.app.Spec.Paused {
		if err := p.f.wake(ctx, p.key, next.Wake); err != nil {
			return err
		}
	}
	if onlyCounts(p.was, *s) {
		if wait := p.f.pace.wait(p.key.String(), time.Time{}, now); wait > 0 {
			return p.f.wake(ctx, p.key, now.Add(wait)) // the latest wins, a little later
		}
	}
	return p.write(ctx)
}

// write writes the status when it differs. The error is errs.Conflict when somebody wrote meanwhile.
func (p *pass) write(ctx context.Context) error {
	if equality.Semantic.DeepEqual(p.was, p.app.Status) {
		return nil
	}
	// The API server takes nothing but the status, so the bytes of an inline module need not travel.
	bytes := p.app.Spec.Module.Inline
	p.app.Spec.Module.Inline = nil
	out, err := p.f.d.Client.Applications.UpdateStatus(ctx, p.app)
	p.app.Spec.Module.Inline = bytes
	if err != nil {
		return ignoreNotFound(err) // deleted: that event comes
	}
	p.f.pace.wrote(p.key.String(), p.f.d.Now())
	p.app.ResourceVersion = out.ResourceVersion
	p.was = *p.app.Status.DeepCopy()
	return nil
}

func counted(s *v1alpha1.ApplicationStatus, c ledger.Counts) {
	s.Desired, s.Ready, s.Running, s.Updated = int32(c.Desired), int32(c.Ready), int32(c.Running), int32(c.Updated)
	s.InFlight, s.Pending, s.Away, s.Failed, s.Held = int32(c.InFlight), int32(c.Pending), int32(c.Away), int32(c.Failed), int32(c.Held)
	s.ReadyDesired = fmt.Sprintf("%d/%d", c.Ready, c.Desired)
	s.Reasons = nil
	for k, n := range c.Reasons {
		if n > 0 {
			if s.Reasons == nil {
				s.Reasons = map[string]int32{}
			}
			s.Reasons[k] = int32(n)
		}
	}
	s.FailingDevices = nil
	for _, x := range c.Failing {
		s.FailingDevices = append(s.FailingDevices, v1alpha1.FailingDevice{Name: x.Device, Revision: x.Revision, Reason: x.Reason, Message: x.Message})
	}
}

// onlyCounts: no condition and no decision moved.
func onlyCounts(a, b v1alpha1.ApplicationStatus) bool {
	if a.Condition != b.Condition || !equality.Semantic.DeepEqual(a.Rollout, b.Rollout) ||
		a.ObservedGeneration != b.ObservedGeneration || len(a.Conditions) != len(b.Conditions) {
		return false
	}
	for i := range a.Conditions {
		x, y := a.Conditions[i], b.Conditions[i]
		if x.Type != y.Type || x.Status != y.Status || x.Reason != y.Reason {
			return false
		}
	}
	return true
}

// conditions are Ready and Progressing. Ready is True when every targeted device is online and has what is
// wanted, confirmed; else its reason is the one thing to look at first.
func (p *pass) conditions(c ledger.Counts) (ready, progressing metav1.Condition) {
	ready = metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse}
	progressing = metav1.Condition{Type: v1alpha1.ConditionProgressing, Status: metav1.ConditionFalse}
	ro := p.app.Status.Rollout
	if p.problem != nil {
		ready.Reason, ready.Message = p.problem.reason, p.problem.message
		if ro != nil && p.rev != nil {
			ready.Message += fmt.Sprintf("; until then revision %s is wanted: %s", ro.To, standing(c))
		}
		progressing.Reason, progressing.Message = p.problem.reason, "the spec cannot be deployed: "+p.problem.message
		return ready, progressing
	}
	back := ro.Reason != v1alpha1.RolloutSpecChanged
	verb, moving := "rollout of", reasonProgressing
	if back {
		verb, moving = "rollback to", reasonRollingBack
	}
	what := fmt.Sprintf("%s revision %s", verb, ro.To)
	unsettled := c.Pending + c.InFlight
	switch {
	case ro.State == v1alpha1.RolloutFailedState:
		ready.Reason, ready.Message = reasonFailed, what+" failed: "+ro.Message
	case c.Desired == 0:
		ready.Reason, ready.Message = reasonNoTargets, "no device is targeted"
	case c.Ready == c.Desired:
		ready.Status, ready.Reason = metav1.ConditionTrue, reasonReady
		ready.Message = fmt.Sprintf("%s %s revision %s", all(c.Desired), verbState(p.app), ro.To)
	case p.app.Spec.Paused && c.Pending > 0:
		ready.Reason, ready.Message = reasonPaused, what+" is paused: "+standing(c)
	case unsettled > 0:
		ready.Reason, ready.Message = moving, what+": "+standing(c)
	case c.Failed > 0:
		ready.Reason, ready.Message = reasonDevFailed, what+": "+failure(c)
	case c.Held > 0:
		ready.Reason, ready.Message = reasonHeld, what+": "+standing(c)
	default:
		ready.Reason, ready.Message = reasonAway, what+": "+standing(c)
	}
	switch {
	case ro.State == v1alpha1.RolloutFailedState:
		progressing.Reason, progressing.Message = reasonFailed, what+" failed: "+ro.Message
	case ro.State == v1alpha1.RolloutComplete && (unsettled == 0 || p.app.Spec.Paused):
		progressing.Reason, progressing.Message = reasonComplete, what+" is complete"
	case p.app.Spec.Paused:
		progressing.Reason, progressing.Message = reasonPaused, what+" is paused"
	case c.Desired == 0:
		progressing.Reason, progressing.Message = reasonNoTargets, "no device is targeted"
	case unsettled == 0:
		progressing.Reason, progressing.Message = ready.Reason, what+" waits: "+standing(c)
	default:
		progressing.Status, progressing.Reason, progressing.Message = metav1.ConditionTrue, moving, what+": "+standing(c)
	}
	return ready, progressing
}

func all(n int) string {
	if n == 1 {
		return "the one device"
	}
	return fmt.Sprintf("all %d devices", n)
}

func verbState(app *v1alpha1.Application) string {
	if app.Spec.State == v1alpha1.RunStateStopped {
		return "hold, stopped,"
	}
	return "run"
}

// standing is "12 of 20 devices have it, 3 in flight, 5 waiting".
func standing(c ledger.Counts) string {
	parts := []string{fmt.Sprintf("%d of %s have it", c.Updated, plural(c.Desired, "device"))}
	for _, x := range []struct {
		n    int
		text string
	}{{c.InFlight, "in flight"}, {c.Pending, "waiting"}, {c.Failed, "failed"}, {c.Held, "held"}, {c.Away, "away"}, {c.Lost, "of those offline"}} {
		if x.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", x.n, x.text))
		}
	}
	return strings.Join(parts, ", ")
}

// word is the printer column: the one word that tells where the application stands.
func word(ready metav1.Condition, all []metav1.Condition) string {
	if ready.Status == metav1.ConditionTrue {
		if meta.IsStatusConditionTrue(all, v1alpha1.ConditionRolledBack) {
			return "RolledBack"
		}
		return "Ready"
	}
	switch ready.Reason {
	case reasonProgressing:
		return "Progressing"
	case reasonFailed:
		return "Failed"
	}
	return ready.Reason
}

// resetRolledBack: a new spec is not rolled back.
func (f *Function) resetRolledBack(app *v1alpha1.Application) {
	if meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionRolledBack) == nil {
		return
	}
	meta.SetStatusCondition(&app.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionRolledBack, Status: metav1.ConditionFalse,
		Reason: reasonSpecChanged, Message: "the spec asks for a new revision", ObservedGeneration: app.Generation, LastTransitionTime: metav1.NewTime(f.d.Now())})
}
