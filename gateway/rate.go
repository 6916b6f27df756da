package gateway

import (
	"sync"
	"time"
)

// rate spreads bytes over time: a bucket that holds one second's worth.
type rate struct {
	perSecond int64 // 0: no limit

	mu    sync.Mutex
	owed  float64 // bytes taken beyond what has flowed in
	since time.Time
}

// take takes n bytes and returns how long to wait until they have flowed in; 0 when they are there.
func (r *rate) take(n int, now time.Time) time.Duration {
	if r.perSecond <= 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.since.IsZero() {
		r.owed = max(-float64(r.perSecond), r.owed-now.Sub(r.since).Seconds()*float64(r.perSecond))
	}
	r.since = now
	r.owed += float64(n)
	if r.owed <= 0 {
		return 0
	}
	return time.Duration(r.owed / float64(r.perSecond) * float64(time.Second))
}
