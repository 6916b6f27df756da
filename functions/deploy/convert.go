package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// manifest is the ledger's form of a manifest, with every default set.
func manifest(m v1alpha1.Manifest) ledger.Manifest {
	m = *m.DeepCopy()
	m.Default()
	out := ledger.Manifest{
		MemoryPages: uint32(max(0, m.Limits.MemoryPages)), Stack: uint32(max(0, m.Limits.StackBytes)), CallTimeout: m.Limits.CallTimeout.Duration,
		Instructions: uint64(max(0, m.Limits.Instructions)), Config: maps.Clone(m.Config),
		HealthWindow: m.Health.Window.Duration, MaxTraps: uint32(max(0, m.Health.MaxTraps)), TrapPeriod: m.Health.TrapPeriod.Duration,
	}
	for _, p := range m.Permissions {
		out.Permissions = append(out.Permissions, string(p))
	}
	slices.Sort(out.Permissions)
	for _, t := range m.Timers {
		out.Timers = append(out.Timers, ledger.Timer{ID: uint32(max(0, t.ID)), Period: t.Period.Duration})
	}
	return out
}

// revisionHash is the identity of a revision: of the module's digest and the manifest, defaults included,
// so that writing a default out makes no revision.
func revisionHash(digest string, m v1alpha1.Manifest) (string, error) {
	b, err := json.Marshal(struct {
		Digest   string          `json:"digest"`
		Manifest ledger.Manifest `json:"manifest"`
	}{digest, manifest(m)})
	if err != nil {
		return "", errs.New(errs.Internal, "manifest: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// selection is the ledger's form of targets. The error is errs.Invalid.
func selection(t v1alpha1.Targets) (ledger.Selection, error) {
	switch {
	case t.All:
		return ledger.Selection{All: true}, nil
	case len(t.Names) > 0:
		names := slices.Clone(t.Names)
		slices.Sort(names)
		return ledger.Selection{Names: slices.Compact(names)}, nil
	case t.Selector == nil:
		return ledger.Selection{}, nil
	}
	if _, err := metav1.LabelSelectorAsSelector(t.Selector); err != nil {
		return ledger.Selection{}, errs.New(errs.Invalid, "targets.selector: %w", err)
	}
	var s ledger.Selection
	for _, k := range slices.Sorted(maps.Keys(t.Selector.MatchLabels)) {
		s.Terms = append(s.Terms, ledger.Term{Key: k, Op: "In", Values: []string{t.Selector.MatchLabels[k]}})
	}
	for _, x := range t.Selector.MatchExpressions {
		s.Terms = append(s.Terms, ledger.Term{Key: x.Key, Op: string(x.Operator), Values: slices.Clone(x.Values)})
	}
	if len(s.Terms) == 0 {
		return ledger.Selection{All: true}, nil // an empty selector selects everything, as everywhere in Kubernetes
	}
	return s, nil
}

// matcher says whether targets select a device, exactly as the ledger does for selection(t).
func matcher(t v1alpha1.Targets) func(name string, l map[string]string) bool {
	switch {
	case t.All:
		return func(string, map[string]string) bool { return true }
	case len(t.Names) > 0:
		names := map[string]bool{}
		for _, n := range t.Names {
			names[n] = true
		}
		return func(name string, _ map[string]string) bool { return names[name] }
	case t.Selector == nil:
		return func(string, map[string]string) bool { return false }
	}
	sel, err := metav1.LabelSelectorAsSelector(t.Selector)
	if err != nil {
		return func(string, map[string]string) bool { return false } // the application's condition says so
	}
	return func(_ string, l map[string]string) bool { return sel.Matches(labels.Set(l)) }
}

// plural is "1 device", "2 devices".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
