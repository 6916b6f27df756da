package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/internal/errs"
)

// set writes one field of the gateways' settings; value "" removes it.
func (l *Ledger) set(ctx context.Context, what, key, field, value string) error {
	_, err := l.run(ctx, what, call{l.setting, []string{key}, []any{field, value, l.keys.Broadcast()}})
	return err
}

// PutGateway stores a Gateway object's settings and wakes the gateways when they changed.
func (l *Ledger) PutGateway(ctx context.Context, g GatewaySettings) error {
	if !named(g.Namespace) || !named(g.Name) {
		return errs.New(errs.Invalid, "ledger: %q/%q is not the name of a gateway", g.Namespace, g.Name)
	}
	b, err := json.Marshal(g)
	if err != nil {
		return errs.New(errs.Invalid, "ledger: gateway %s/%s: %w", g.Namespace, g.Name, err)
	}
	return l.set(ctx, "put gateway", l.keys.Gateways(), g.Namespace+"/"+g.Name, string(b))
}

// Gateway returns a Gateway object's settings; NotFound when nobody stored them.
func (l *Ledger) Gateway(ctx context.Context, ns, name string) (GatewaySettings, error) {
	var g GatewaySettings
	s, err := l.rdb.HGet(ctx, l.keys.Gateways(), ns+"/"+name).Result()
	if err == redis.Nil {
		return g, errs.New(errs.NotFound, "ledger: no settings of gateway %s/%s", ns, name).WithMend("is there a Gateway object of that name?")
	}
	if err != nil {
		return g, wrap(err, "gateway")
	}
	return g, unmarshal(s, &g)
}

// DeleteGateway forgets a Gateway object's settings.
func (l *Ledger) DeleteGateway(ctx context.Context, ns, name string) error {
	return l.set(ctx, "delete gateway", l.keys.Gateways(), ns+"/"+name, "")
}

// PutTrust stores the trust anchors (PEM) of a namespace's devices and wakes the gateways when they changed.
func (l *Ledger) PutTrust(ctx context.Context, ns string, pem []byte) error {
	if !named(ns) || len(pem) == 0 {
		return errs.New(errs.Invalid, "ledger: %d bytes of trust anchors for namespace %q", len(pem), ns)
	}
	return l.set(ctx, "put trust", l.keys.Trust(), ns, string(pem))
}

// Trust returns the trust anchors (PEM) of a namespace; NotFound when nobody stored them.
func (l *Ledger) Trust(ctx context.Context, ns string) ([]byte, error) {
	b, err := l.rdb.HGet(ctx, l.keys.Trust(), ns).Bytes()
	if err == redis.Nil {
		return nil, errs.New(errs.NotFound, "ledger: no trust anchors of namespace %s", ns)
	}
	return b, wrap(err, "trust")
}

// Deny puts a key (lower-case hex SHA-256 of its SPKI) on a namespace's deny-list and wakes the gateways.
func (l *Ledger) Deny(ctx context.Context, ns, keyFingerprint, reason string) error {
	if !named(ns) || !made(keyFingerprint, 128, "") || reason == "" {
		return errs.New(errs.Invalid, "ledger: deny %q in namespace %q because of %q", keyFingerprint, ns, reason)
	}
	return l.set(ctx, "deny", l.keys.Denied(ns), keyFingerprint, text(reason))
}

// Allow takes a key off a namespace's deny-list and wakes the gateways.
func (l *Ledger) Allow(ctx context.Context, ns, keyFingerprint string) error {
	if !named(ns) || !made(keyFingerprint, 128, "") {
		return errs.New(errs.Invalid, "ledger: allow %q in namespace %q", keyFingerprint, ns)
	}
	return l.set(ctx, "allow", l.keys.Denied(ns), keyFingerprint, "")
}

// Denied returns a namespace's deny-list: fingerprint to reason.
func (l *Ledger) Denied(ctx context.Context, ns string) (map[string]string, error) {
	m, err := l.rdb.HGetAll(ctx, l.keys.Denied(ns)).Result()
	return m, wrap(err, "denied")
}

// PutModule stores a module's bytes for ModuleTTL since their last use. Invalid when the digest
// ("sha256:<hex>") is not theirs, TooLarge over MaxModule.
func (l *Ledger) PutModule(ctx context.Context, ns, digest string, b []byte) error {
	if !named(ns) {
		return errs.New(errs.Invalid, "ledger: namespace %q", ns)
	}
	if len(b) > MaxModule {
		return errs.New(errs.TooLarge, "ledger: a module of %d bytes, more than %d", len(b), MaxModule)
	}
	sum := sha256.Sum256(b)
	if is := "sha256:" + hex.EncodeToString(sum[:]); is != digest {
		return errs.New(errs.Invalid, "ledger: the module's digest is %s, not %s", is, digest)
	}
	return wrap(l.rdb.Set(ctx, l.keys.Module(ns, digest), b, ModuleTTL).Err(), "put module")
}

// Module returns a module's bytes; NotFound when Redis does not hold them (any more).
func (l *Ledger) Module(ctx context.Context, ns, digest string) ([]byte, error) {
	b, err := l.rdb.GetEx(ctx, l.keys.Module(ns, digest), ModuleTTL).Bytes()
	if err == redis.Nil {
		return nil, errs.New(errs.NotFound, "ledger: module %s is not in Redis", digest)
	}
	return b, wrap(err, "module")
}

// PutVerdict stores enroll's answer to a session for VerdictTTL and wakes the gateway process that waits.
func (l *Ledger) PutVerdict(ctx context.Context, instance, session string, v Verdict) error {
	if !named(instance) || !sessionID(session) {
		return errs.New(errs.Invalid, "ledger: a verdict for session %q of %q", session, instance)
	}
	v.Message = text(v.Message)
	b, err := json.Marshal(v)
	if err != nil {
		return errs.New(errs.Invalid, "ledger: verdict: %w", err)
	}
	_, err = l.run(ctx, "put verdict", call{l.verdict, []string{l.keys.Verdict(session)},
		[]any{string(b), VerdictTTL.Milliseconds(), l.keys.Channel(instance), session}})
	return err
}

// Verdict returns enroll's answer to a session; NotFound when there is none (yet).
func (l *Ledger) Verdict(ctx context.Context, session string) (Verdict, error) {
	var v Verdict
	if !sessionID(session) {
		return v, errs.New(errs.Invalid, "ledger: session %q", session)
	}
	s, err := l.rdb.Get(ctx, l.keys.Verdict(session)).Result()
	if err == redis.Nil {
		return v, errs.New(errs.NotFound, "ledger: no verdict for session %s", session)
	}
	if err != nil {
		return v, wrap(err, "verdict")
	}
	return v, unmarshal(s, &v)
}

// sessionID: a session's id is a word of a wake, so it holds no blanks.
func sessionID(s string) bool { return made(s, MaxSession, "-_.:/") }

// Once reports whether (source, id) is seen for the first time within OnceTTL, else what SetOnce stored with it.
// value "" without first: somebody began and did not say SetOnce, because it is at it or ended in the middle;
// what is idempotent is then done again.
func (l *Ledger) Once(ctx context.Context, source, id string) (first bool, value string, err error) {
	key := l.keys.Once(onceHash(source, id))
	// One command: SET NX GET answers with what was there, or nil when it has set.
	value, err = l.rdb.SetArgs(ctx, key, "", redis.SetArgs{Mode: "NX", Get: true, TTL: OnceTTL}).Result()
	if err == redis.Nil {
		return true, "", nil
	}
	return false, value, wrap(err, "once")
}

// SetOnce stores a value with (source, id), for OnceTTL.
func (l *Ledger) SetOnce(ctx context.Context, source, id, value string) error {
	return wrap(l.rdb.Set(ctx, l.keys.Once(onceHash(source, id)), value, OnceTTL).Err(), "set once")
}

func onceHash(source, id string) string {
	h := sha256.New()
	h.Write([]byte(source))
	h.Write([]byte{0})
	h.Write([]byte(id))
	return hex.EncodeToString(h.Sum(nil)[:16])
}
