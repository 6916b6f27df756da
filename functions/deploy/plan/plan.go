// Package plan is the rollout engine's arithmetic: from an application's policy and the counts of its
// devices it says how many devices may be dispatched now and whether the rollout has ended. It is pure: no
// clock, no client, no state between two calls, so that every call can be repeated.
//
// The counts are of the ledger's work sets. A device is in exactly one of them:
//
//	pending  online, not dispatched          in flight  dispatched, has not answered
//	updated  has the wanted revision         failed     answered that it could not, or did not answer
//	away     not connected, not updated      held       a person said: not this one
//
// A device is settled when it is updated or failed, and attempted when it is settled or in flight.
package plan

import (
	"math"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
)

// Policy is how a revision crosses the fleet. A nil field is absent. Percentages are of Counts.Desired.
type Policy struct {
	// BatchSize is the size of a wave: a wave begins when every device of the one before is settled.
	// Absent: one wave. Percentages are rounded up; at least 1.
	BatchSize *intstr.IntOrString
	// MaxUnavailable is how many devices may be in flight at once. Percentages are rounded down, as
	// Kubernetes does for a Deployment; at least 1. Absent: 25%. It does not bind the first revision of an
	// application, which takes nothing away from anybody: BatchSize does.
	MaxUnavailable *intstr.IntOrString
	// FailureThreshold is how many failed devices fail the rollout. Percentages are rounded up; at least
	// 1. Absent: 1.
	FailureThreshold *intstr.IntOrString
}

// Counts are the sizes of the work sets.
type Counts struct {
	Desired  int // all that are targeted
	Updated  int
	InFlight int
	Pending  int
	Away     int
	Failed   int // Refused ones included
	Held     int
	// Refused are the failed devices that cannot hold the module at all (too little memory and the like).
	// That says nothing against the revision: they do not count for the failure threshold.
	Refused int
}

// Kind of rollout.
type Kind int

// Kinds. A rollback goes on past failures and without waves: a device that cannot go back must not keep
// the others on what has failed.
const (
	Update Kind = iota
	First       // the application's first revision
	Rollback
)

// Input is what a plan is made of.
type Input struct {
	Policy Policy
	Counts Counts
	Kind   Kind
	// Open: the rollout has neither completed nor failed. When it has completed, devices that come later
	// are still brought along, but it does not end a second time.
	Open   bool
	Paused bool
	Halted bool // it failed, and nobody decided yet
	Now    time.Time
}

// Cause is why a plan admits no more than it does.
type Cause string

// Causes.
const (
	CauseNone           Cause = ""
	CausePaused         Cause = "Paused"
	CauseHalted         Cause = "Halted"
	CauseFailed         Cause = "Failed"
	CauseMaxUnavailable Cause = "MaxUnavailable" // as many in flight as may be
	CauseWave           Cause = "Wave"           // the wave before has not settled
)

// Plan is what to do now.
type Plan struct {
	Admit    int       // devices to dispatch now
	Limit    int       // devices that may be in flight at once: the size of the budget
	Cause    Cause     // why Admit is smaller than Counts.Pending
	Fail     bool      // the rollout has failed now
	Complete bool      // the rollout has completed now, perhaps after it had failed
	Wake     time.Time // look again then even if nobody reports; zero: no need
}

// wakeAfter is how long a rollout that waits for devices goes without being looked at. Reports and
// deadlines wake it much earlier; this is for the one that was lost.
const wakeAfter = 30 * time.Second

// Next says what to do now.
func Next(in Input) Plan {
	c := in.Counts
	p := Plan{Limit: Limit(in.Policy, in.Kind, c.Desired)}
	switch {
	case in.Halted:
		p.Cause = CauseHalted
		// It failed, and then everybody came to have it all the same: what they lacked is there now.
		p.Complete = c.Desired > 0 && c.Updated == c.Desired
		return p
	case in.Open && fails(in):
		p.Fail, p.Cause = true, CauseFailed
		return p
	}
	// Devices that are away or held do not keep a rollout open: somebody's drawer would keep it open for
	// ever. They are brought along when they come, by the same rules. But at least one device must have
	// proven the revision.
	p.Complete = in.Open && c.Pending <= 0 && c.InFlight <= 0 && c.Updated > 0
	if in.Paused {
		p.Cause = CausePaused
		return p
	}
	room := p.Limit - c.InFlight
	p.Cause = CauseMaxUnavailable
	if w := waveRoom(in); w < room {
		room, p.Cause = w, CauseWave
	}
	p.Admit = max(0, min(room, c.Pending))
	if p.Admit >= c.Pending {
		p.Cause = CauseNone
	}
	if c.InFlight > 0 || c.Pending > 0 {
		p.Wake = in.Now.Add(wakeAfter)
	}
	return p
}

// fails: the threshold is reached, or everybody who answered said no. While paused nothing is decided.
func fails(in Input) bool {
	c := in.Counts
	if in.Paused {
		return false
	}
	if in.Kind != Rollback && c.Failed-c.Refused >= Threshold(in.Policy, c.Desired) {
		return true
	}
	return c.Failed > 0 && c.Updated <= 0 && c.Pending <= 0 && c.InFlight <= 0
}

// waveRoom is how many more devices the current wave takes: the wave that the first unsettled device is in.
func waveRoom(in Input) int {
	if in.Policy.BatchSize == nil || in.Kind == Rollback {
		return math.MaxInt
	}
	c := in.Counts
	batch := scaled(in.Policy.BatchSize, c.Desired, true)
	settled := max(0, c.Updated) + max(0, c.Failed)
	end := (settled/batch + 1) * batch
	return end - settled - max(0, c.InFlight)
}

// Limit is how many devices may be in flight at once.
func Limit(p Policy, k Kind, desired int) int {
	if k == First {
		return max(1, desired)
	}
	if p.MaxUnavailable == nil {
		quarter := intstr.FromString("25%")
		return scaled(&quarter, desired, false)
	}
	return scaled(p.MaxUnavailable, desired, false)
}

// Threshold is how many failed devices fail a rollout.
func Threshold(p Policy, desired int) int {
	if p.FailureThreshold == nil {
		return 1
	}
	return scaled(p.FailureThreshold, desired, true)
}

// scaled resolves a number or a percentage of total. What does not parse (the CRD's schema refuses it) is
// taken for the most careful value, 1.
func scaled(v *intstr.IntOrString, total int, up bool) int {
	n, err := intstr.GetScaledValueFromIntOrPercent(v, total, up)
	if err != nil {
		return 1
	}
	return max(1, n)
}
