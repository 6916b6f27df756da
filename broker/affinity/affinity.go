// Package affinity keeps which gateway process holds which device: a lease per device, fenced by an epoch.
// The newest epoch wins. All keys of a device are in its shard's Redis Cluster slot, beside the ledger's, so
// that a ledger script can wake the owner.
//
// All methods may be called concurrently. Errors are *errs.Error: Unavailable or Deadline when Redis does not
// answer, Invalid for arguments that can never work.
package affinity

import (
	"context"
	"embed"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// MaxRenew is the number of devices in one script call of Renew.
const MaxRenew = 256

// Keys names the keys. ledger.Keys is one.
type Keys interface {
	Shards() int
	ShardOf(d event.Device) int
	Prefix(shard int) string        // of the shard's keys
	Instances() string              // registry of gateway processes
	InstanceEnds() string           // its ends
	Channel(instance string) string // of one gateway process: Broadcast, ':', instance
	Broadcast() string              // channel of all gateway processes
}

// Options are settings. Zero values are defaults.
type Options struct {
	Now func() time.Time // default time.Now; also the clock inside the scripts
}

// Affinity is a handle; it holds no state but script digests.
type Affinity struct {
	rdb  redis.UniversalClient
	keys Keys
	now  func() time.Time

	acquire, renew, release, expired *redis.Script
}

// New returns a handle on a Redis, single or cluster. It does not connect.
func New(rdb redis.UniversalClient, k Keys, o Options) *Affinity {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Affinity{rdb: rdb, keys: k, now: o.Now, acquire: script("acquire"), renew: script("renew"),
		release: script("release"), expired: script("expired")}
}

//go:embed scripts/*.lua
var scriptFiles embed.FS

func script(name string) *redis.Script {
	b, err := scriptFiles.ReadFile("scripts/" + name + ".lua")
	if err != nil {
		// Only a name that is not in the folder comes here; Redis refuses this text, a test finds it.
		return redis.NewScript("error: no script " + name)
	}
	return redis.NewScript(string(b))
}

// Lease is one device held by a gateway process.
type Lease struct {
	Device   event.Device
	Epoch    uint64
	LastSeen time.Time
}

// ExpiredLease is a lease that nobody renewed in time.
type ExpiredLease struct {
	Device   event.Device
	Instance string // "" when the lease is gone already
	Epoch    uint64 // 0 likewise
}

func (a *Affinity) lease(d event.Device) string {
	return a.keys.Prefix(a.keys.ShardOf(d)) + "o:" + d.String()
}

// Acquire takes a device for a gateway process, from whoever had it, and tells that one (WakeSuperseded). The
// epoch is larger than all that the shard gave in this era. era is "" when the ledger has none: then the caller
// makes one (ledger.Era) and acquires again.
func (a *Affinity) Acquire(ctx context.Context, d event.Device, instance string, ttl time.Duration) (epoch uint64, era string, err error) {
	if !named(d.Namespace) || !named(d.Name) || !named(instance) || ttl < time.Millisecond {
		return 0, "", errs.New(errs.Invalid, "affinity: acquire %q for %q and %v", d.String(), instance, ttl)
	}
	now := a.now()
	p := a.keys.Prefix(a.keys.ShardOf(d))
	v, err := a.acquire.Run(ctx, a.rdb, []string{p + "era", p + "epoch", a.lease(d), p + "leases"},
		d.String(), instance, now.UnixMilli(), now.Add(ttl).UnixMilli(), a.keys.Broadcast()+":", d.Namespace, d.Name).StringSlice()
	if err != nil || len(v) != 2 {
		return 0, "", wrap(err, "acquire")
	}
	epoch, _ = strconv.ParseUint(v[0], 10, 64)
	return epoch, v[1], nil
}

// Renew holds on to devices and writes when they were last seen. lost are those whose session is not the newest
// any more, or whose lease ended and was dropped; all of them when the ledger has no era. era is the present one,
// "" when a shard of these devices has none: the caller makes one (ledger.Era), then acquires and announces its
// sessions again. It does the same when era is another one than it knew.
func (a *Affinity) Renew(ctx context.Context, instance string, ls []Lease, ttl time.Duration) (lost []event.Device, era string, err error) {
	if !named(instance) || ttl < time.Millisecond {
		return nil, "", errs.New(errs.Invalid, "affinity: renew for %q and %v", instance, ttl)
	}
	if len(ls) == 0 {
		era, err := a.rdb.Get(ctx, a.keys.Prefix(0)+"era").Result()
		if err == redis.Nil {
			return nil, "", nil
		}
		return nil, era, wrap(err, "renew")
	}
	at := make(map[int][]int)
	for i, l := range ls {
		s := a.keys.ShardOf(l.Device)
		at[s] = append(at[s], i)
	}
	end := a.now().Add(ttl).UnixMilli()
	var calls []renewCall
	for s, is := range at {
		for len(is) > 0 {
			n := min(len(is), MaxRenew)
			p := a.keys.Prefix(s)
			args := make([]any, 3, 3+3*n)
			args[0], args[1], args[2] = p+"o:", instance, end
			for _, i := range is[:n] {
				args = append(args, ls[i].Device.String(), strconv.FormatUint(ls[i].Epoch, 10), ls[i].LastSeen.UnixMilli())
			}
			calls = append(calls, renewCall{[]string{p + "era", p + "epoch", p + "leases"}, args, is[:n]})
			is = is[n:]
		}
	}
	missing := false
	err = a.renewAll(ctx, calls, func(c renewCall, v []any) {
		e, _ := v[0].(string)
		if e == "" {
			missing = true
		}
		era = e
		for _, x := range v[1:] {
			if n, ok := x.(int64); ok && n >= 1 && int(n) <= len(c.at) {
				lost = append(lost, ls[c.at[n-1]].Device)
			}
		}
	})
	if err != nil {
		return nil, "", err
	}
	if missing {
		era = ""
	}
	return lost, era, nil
}

type renewCall struct {
	keys []string
	args []any
	at   []int
}

func (a *Affinity) renewAll(ctx context.Context, calls []renewCall, take func(renewCall, []any)) error {
	// First by digest; what the server does not know, then with the text.
	for _, eval := range []bool{false, true} {
		p := a.rdb.Pipeline()
		cmds := make([]*redis.Cmd, len(calls))
		for i, c := range calls {
			if eval {
				cmds[i] = a.renew.Eval(ctx, p, c.keys, c.args...)
			} else {
				cmds[i] = a.renew.EvalSha(ctx, p, c.keys, c.args...)
			}
		}
		_, _ = p.Exec(ctx) // each command has its own error
		var again []renewCall
		for i, c := range calls {
			v, err := cmds[i].Slice()
			switch {
			case err == nil && len(v) > 0:
				take(c, v)
			case !eval && redis.HasErrorPrefix(err, "NOSCRIPT"):
				again = append(again, c)
			default:
				return wrap(err, "renew")
			}
		}
		if calls = again; len(calls) == 0 {
			break
		}
	}
	return nil
}

// Release gives a device back. It does nothing when a newer session has it.
func (a *Affinity) Release(ctx context.Context, d event.Device, epoch uint64) error {
	p := a.keys.Prefix(a.keys.ShardOf(d))
	err := a.release.Run(ctx, a.rdb, []string{a.lease(d), p + "leases"}, d.String(), strconv.FormatUint(epoch, 10), "").Err()
	return wrap(err, "release")
}

// Owner returns who holds a device; NotFound when nobody does. A lease that ended and was not dropped yet counts.
func (a *Affinity) Owner(ctx context.Context, d event.Device) (instance string, epoch uint64, err error) {
	v, err := a.rdb.HMGet(ctx, a.lease(d), "i", "e").Result()
	if err != nil {
		return "", 0, wrap(err, "owner")
	}
	instance, _ = v[0].(string)
	if instance == "" {
		return "", 0, errs.New(errs.NotFound, "affinity: no gateway holds %s", d)
	}
	e, _ := v[1].(string)
	epoch, _ = strconv.ParseUint(e, 10, 64)
	return instance, epoch, nil
}

// Expired returns at most max leases of a shard that ended, the oldest first. Who ticks the shard says so to the
// others (event.DeviceDisconnected), then drops them.
func (a *Affinity) Expired(ctx context.Context, shard, max int) ([]ExpiredLease, error) {
	if shard < 0 || shard >= a.keys.Shards() || max <= 0 {
		return nil, errs.New(errs.Invalid, "affinity: expired: shard %d, at most %d", shard, max)
	}
	p := a.keys.Prefix(shard)
	v, err := a.expired.Run(ctx, a.rdb, []string{p + "leases"}, p+"o:", a.now().UnixMilli(), max).StringSlice()
	if err != nil {
		return nil, wrap(err, "expired")
	}
	out := make([]ExpiredLease, 0, len(v)/3)
	for i := 0; i+2 < len(v); i += 3 {
		ns, name, _ := strings.Cut(v[i], "/")
		e, _ := strconv.ParseUint(v[i+2], 10, 64)
		out = append(out, ExpiredLease{event.Device{Namespace: ns, Name: name}, v[i+1], e})
	}
	return out, nil
}

// DropExpired removes leases that Expired returned, those that were not taken or renewed meanwhile.
func (a *Affinity) DropExpired(ctx context.Context, shard int, ls []ExpiredLease) error {
	now := a.now().UnixMilli()
	for _, l := range ls {
		p := a.keys.Prefix(shard)
		err := a.release.Run(ctx, a.rdb, []string{p + "o:" + l.Device.String(), p + "leases"}, l.Device.String(),
			strconv.FormatUint(l.Epoch, 10), now).Err()
		if err != nil {
			return wrap(err, "drop expired")
		}
	}
	return nil
}
