package affinity

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/internal/errs"
)

// Instance is one gateway process.
type Instance struct {
	ID        string    `json:"id"`
	Namespace string    `json:"namespace"`
	Gateway   string    `json:"gateway"` // Gateway object
	Address   string    `json:"address"` // host:port that devices dial
	Devices   int       `json:"devices"`
	State     string    `json:"state"` // Up, Draining, Disabled
	Started   time.Time `json:"started"`
}

// Register says that a gateway process lives, for ttl.
func (a *Affinity) Register(ctx context.Context, i Instance, ttl time.Duration) error {
	if !named(i.ID) || ttl < time.Millisecond {
		return errs.New(errs.Invalid, "affinity: register %q for %v", i.ID, ttl)
	}
	b, err := json.Marshal(i)
	if err != nil {
		return errs.New(errs.Invalid, "affinity: instance %s: %w", i.ID, err)
	}
	now := a.now()
	p := a.rdb.TxPipeline()
	p.HSet(ctx, a.keys.Instances(), i.ID, b)
	p.ZAdd(ctx, a.keys.InstanceEnds(), redis.Z{Score: float64(now.Add(ttl).UnixMilli()), Member: i.ID})
	if _, err := p.Exec(ctx); err != nil {
		return wrap(err, "register")
	}
	return a.forget(ctx, now.Add(-ttl))
}

// forget removes processes whose time ended before at. One that registers in between may lose its entry until
// it says so again; that is soon.
func (a *Affinity) forget(ctx context.Context, at time.Time) error {
	ids, err := a.rdb.ZRangeByScore(ctx, a.keys.InstanceEnds(), &redis.ZRangeBy{Min: "-inf", Max: strconv.FormatInt(at.UnixMilli(), 10)}).Result()
	if err != nil || len(ids) == 0 {
		return wrap(err, "register")
	}
	for _, id := range ids {
		if err := a.Unregister(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// Instances returns the gateway processes that live, by namespace, gateway and id.
func (a *Affinity) Instances(ctx context.Context) ([]Instance, error) {
	ids, err := a.rdb.ZRangeByScore(ctx, a.keys.InstanceEnds(), &redis.ZRangeBy{Min: strconv.FormatInt(a.now().UnixMilli(), 10), Max: "+inf"}).Result()
	if err != nil || len(ids) == 0 {
		return nil, wrap(err, "instances")
	}
	v, err := a.rdb.HMGet(ctx, a.keys.Instances(), ids...).Result()
	if err != nil {
		return nil, wrap(err, "instances")
	}
	var out []Instance
	for _, x := range v {
		s, _ := x.(string)
		var i Instance
		if s == "" || json.Unmarshal([]byte(s), &i) != nil {
			continue
		}
		out = append(out, i)
	}
	slices.SortFunc(out, func(x, y Instance) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Gateway, y.Gateway), cmp.Compare(x.ID, y.ID))
	})
	return out, nil
}

// Unregister says that a gateway process is gone.
func (a *Affinity) Unregister(ctx context.Context, id string) error {
	p := a.rdb.TxPipeline()
	p.HDel(ctx, a.keys.Instances(), id)
	p.ZRem(ctx, a.keys.InstanceEnds(), id)
	_, err := p.Exec(ctx)
	return wrap(err, "unregister")
}
