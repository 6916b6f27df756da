package plan

import (
	"math/rand/v2"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ios(s string) *intstr.IntOrString { v := intstr.Parse(s); return &v }

func TestNext(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   Input
		want Plan
	}{
		{"nothing targeted", Input{Open: true}, Plan{Limit: 1}},
		{"first revision goes to everybody", Input{Open: true, Kind: First, Counts: Counts{Desired: 40, Pending: 40}}, Plan{Limit: 40, Admit: 40}},
		{"update: a quarter", Input{Open: true, Counts: Counts{Desired: 40, Pending: 40}}, Plan{Limit: 10, Admit: 10, Cause: CauseMaxUnavailable}},
		{"a quarter of three rounds down, but not to nothing", Input{Open: true, Counts: Counts{Desired: 3, Pending: 3}}, Plan{Limit: 1, Admit: 1, Cause: CauseMaxUnavailable}},
		{"the first revision makes nobody unavailable", Input{Open: true, Kind: First, Policy: Policy{MaxUnavailable: ios("30%")}, Counts: Counts{Desired: 9, Pending: 9}},
			Plan{Limit: 9, Admit: 9}},
		{"but has waves", Input{Open: true, Kind: First, Policy: Policy{MaxUnavailable: ios("30%"), BatchSize: ios("4")}, Counts: Counts{Desired: 9, Pending: 9}},
			Plan{Limit: 9, Admit: 4, Cause: CauseWave}},
		{"thirty percent of nine rounds down", Input{Open: true, Policy: Policy{MaxUnavailable: ios("30%")}, Counts: Counts{Desired: 9, Pending: 9}},
			Plan{Limit: 2, Admit: 2, Cause: CauseMaxUnavailable}},
		{"first wave", Input{Open: true, Policy: Policy{MaxUnavailable: ios("100%"), BatchSize: ios("10%")}, Counts: Counts{Desired: 25, Pending: 25}},
			Plan{Limit: 25, Admit: 3, Cause: CauseWave}},
		{"wave not settled", Input{Open: true, Policy: Policy{MaxUnavailable: ios("100%"), BatchSize: ios("10")}, Counts: Counts{Desired: 25, Updated: 9, InFlight: 1, Pending: 15}},
			Plan{Limit: 25, Cause: CauseWave}},
		{"wave settled, a failed one counts", Input{Open: true, Policy: Policy{MaxUnavailable: ios("100%"), BatchSize: ios("10"), FailureThreshold: ios("2")},
			Counts: Counts{Desired: 25, Updated: 9, Failed: 1, Pending: 15}}, Plan{Limit: 25, Admit: 10, Cause: CauseWave}},
		{"threshold", Input{Open: true, Policy: Policy{FailureThreshold: ios("10%")}, Counts: Counts{Desired: 11, Failed: 2, Updated: 3, Pending: 6}},
			Plan{Limit: 2, Fail: true, Cause: CauseFailed}},
		{"below threshold", Input{Open: true, Policy: Policy{FailureThreshold: ios("10%")}, Counts: Counts{Desired: 11, Failed: 1, Updated: 3, Pending: 7}},
			Plan{Limit: 2, Admit: 2, Cause: CauseMaxUnavailable}},
		{"refused devices do not count", Input{Open: true, Counts: Counts{Desired: 8, Failed: 3, Refused: 3, Updated: 5}}, Plan{Limit: 2, Complete: true}},
		{"all refused", Input{Open: true, Counts: Counts{Desired: 3, Failed: 3, Refused: 3}}, Plan{Limit: 1, Fail: true, Cause: CauseFailed}},
		{"everybody failed below the threshold", Input{Open: true, Policy: Policy{FailureThreshold: ios("5")}, Counts: Counts{Desired: 3, Failed: 3}}, Plan{Limit: 1, Fail: true, Cause: CauseFailed}},
		{"complete", Input{Open: true, Counts: Counts{Desired: 4, Updated: 4}}, Plan{Limit: 1, Complete: true}},
		{"complete without those away and held", Input{Open: true, Counts: Counts{Desired: 4, Updated: 1, Away: 2, Held: 1}}, Plan{Limit: 1, Complete: true}},
		{"all away: waits", Input{Open: true, Counts: Counts{Desired: 4, Away: 4}}, Plan{Limit: 1}},
		{"newcomer after completion", Input{Counts: Counts{Desired: 9, Updated: 7, Failed: 1, Pending: 1}}, Plan{Limit: 2, Admit: 1}},
		{"paused", Input{Open: true, Paused: true, Counts: Counts{Desired: 4, Failed: 1, Pending: 3}}, Plan{Limit: 1, Cause: CausePaused}},
		{"halted", Input{Halted: true, Counts: Counts{Desired: 4, Failed: 1, Pending: 3}}, Plan{Limit: 1, Cause: CauseHalted}},
		{"halted, and then all have it", Input{Halted: true, Counts: Counts{Desired: 4, Updated: 4}}, Plan{Limit: 1, Cause: CauseHalted, Complete: true}},
		{"rollback passes failures and waves", Input{Open: true, Kind: Rollback, Policy: Policy{MaxUnavailable: ios("5"), BatchSize: ios("1")}, Counts: Counts{Desired: 9, Failed: 2, InFlight: 1, Pending: 6}},
			Plan{Limit: 5, Admit: 4, Cause: CauseMaxUnavailable}},
		{"nonsense is careful", Input{Open: true, Policy: Policy{MaxUnavailable: ios("many")}, Counts: Counts{Desired: 9, Pending: 9}}, Plan{Limit: 1, Admit: 1, Cause: CauseMaxUnavailable}},
		{"zero is one", Input{Open: true, Policy: Policy{MaxUnavailable: ios("0"), FailureThreshold: ios("0"), BatchSize: ios("0%")}, Counts: Counts{Desired: 9, Pending: 9}},
			Plan{Limit: 1, Admit: 1, Cause: CauseMaxUnavailable}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.in.Now = now
			got := Next(tt.in)
			if got.Wake.IsZero() == (tt.in.Counts.Pending+tt.in.Counts.InFlight > 0 && !got.Fail && !tt.in.Paused && !tt.in.Halted) {
				t.Errorf("wake = %v", got.Wake)
			}
			got.Wake = time.Time{}
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// TestRollouts drives random rollouts to their end with devices that answer, fail, leave and come, and
// checks after every step what must always hold.
func TestRollouts(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 7))
		rollout(t, r, seed)
		if t.Failed() {
			return
		}
	}
}

func randomPolicy(r *rand.Rand) Policy {
	pick := func() *intstr.IntOrString {
		switch r.IntN(3) {
		case 0:
			return nil
		case 1:
			v := intstr.FromInt32(int32(r.IntN(20)))
			return &v
		}
		return ios([]string{"1%", "10%", "25%", "33%", "50%", "100%"}[r.IntN(6)])
	}
	return Policy{BatchSize: pick(), MaxUnavailable: pick(), FailureThreshold: pick()}
}

func rollout(t *testing.T, r *rand.Rand, seed uint64) {
	in := Input{Policy: randomPolicy(r), Kind: Kind(r.IntN(3)), Open: true, Now: now}
	c := &in.Counts
	c.Desired = r.IntN(120)
	for range c.Desired { // where everybody is at the start
		switch r.IntN(8) {
		case 0:
			c.Away++
		case 1:
			c.Held++
		case 2:
			c.Updated++
		default:
			c.Pending++
		}
	}
	badness := r.IntN(3) // none, few, many fail
	waveEnd := 0         // settled devices at which the current wave ends
	for step := 0; ; step++ {
		if step > 4000 {
			t.Errorf("seed %d: no end: %+v", seed, in)
			return
		}
		p := Next(in)
		switch {
		case p.Admit < 0 || p.Admit > c.Pending:
			t.Errorf("seed %d: admits %d of %d", seed, p.Admit, c.Pending)
		case p.Admit > 0 && c.InFlight+p.Admit > p.Limit:
			t.Errorf("seed %d: %d in flight, limit %d", seed, c.InFlight+p.Admit, p.Limit)
		case p.Fail && p.Admit > 0:
			t.Errorf("seed %d: fails and admits", seed)
		case p.Fail && p.Complete:
			t.Errorf("seed %d: fails and completes", seed)
		case p.Complete && (c.Pending > 0 || c.InFlight > 0 || c.Updated == 0):
			t.Errorf("seed %d: completes with %+v", seed, *c)
		case p.Admit == 0 && c.Pending > 0 && p.Cause == CauseNone:
			t.Errorf("seed %d: admits nothing and does not say why", seed)
		}
		if p2 := Next(in); p2 != p {
			t.Errorf("seed %d: two plans from one input", seed)
		}
		if in.Policy.BatchSize != nil && in.Kind != Rollback && p.Admit > 0 {
			batch := scaled(in.Policy.BatchSize, c.Desired, true)
			settled := c.Updated + c.Failed
			if settled >= waveEnd {
				waveEnd = (settled/batch + 1) * batch
			}
			if settled+c.InFlight+p.Admit > waveEnd {
				t.Errorf("seed %d: beyond the wave: %+v admits %d, wave ends at %d", seed, *c, p.Admit, waveEnd)
			}
		}
		if t.Failed() {
			return
		}
		if p.Fail || p.Complete {
			return
		}
		c.Pending -= p.Admit
		c.InFlight += p.Admit
		if c.Pending == 0 && c.InFlight == 0 {
			// Nobody who is here is left: it may only be open because nobody has the revision.
			if c.Updated > 0 || c.Failed > 0 {
				if q := Next(in); !q.Complete && !q.Fail {
					t.Errorf("seed %d: everybody answered, and it goes on: %+v", seed, *c)
				}
			}
			return
		}
		if c.InFlight == 0 {
			t.Errorf("seed %d: stuck: %+v plan %+v", seed, *c, p)
			return
		}
		for range 1 + r.IntN(c.InFlight) { // some answer
			c.InFlight--
			switch x := r.IntN(20); {
			case x < badness*4:
				c.Failed++
				if r.IntN(3) == 0 {
					c.Refused++
				}
			case x == 19:
				c.Away++ // gone until its deadline
			default:
				c.Updated++
			}
		}
		if c.Away > 0 && r.IntN(4) == 0 && step < 1000 { // one comes back
			c.Away--
			c.Pending++
		}
	}
}
