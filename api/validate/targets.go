package validate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

func indexed(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }

func isLabel(s string) bool { return len(validation.IsDNS1123Label(s)) == 0 }

// selector checks a label selector as the API server checks its own, with the place of the mistake.
func selector(fs *Findings, field string, s *metav1.LabelSelector) {
	if s == nil {
		return
	}
	const mend = "labels are [prefix/]name: value, of letters, digits, - _ and ."
	for _, k := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		for _, m := range append(validation.IsQualifiedName(k), validation.IsValidLabelValue(s.MatchLabels[k])...) {
			fs.refuse(field+".matchLabels["+k+"]", "TargetsInvalid", mend, "%s", m)
		}
	}
	for i, x := range s.MatchExpressions {
		at := indexed(field+".matchExpressions", i)
		for _, m := range validation.IsQualifiedName(x.Key) {
			fs.refuse(at+".key", "TargetsInvalid", mend, "%s", m)
		}
		for j, val := range x.Values {
			for _, m := range validation.IsValidLabelValue(val) {
				fs.refuse(indexed(at+".values", j), "TargetsInvalid", mend, "%s", m)
			}
		}
	}
	// What is left: the operator, and whether it takes values.
	if _, err := metav1.LabelSelectorAsSelector(s); err != nil && len(fs.Errors()) == 0 {
		fs.refuse(field, "TargetsInvalid", "operators are In and NotIn with values, Exists and DoesNotExist without", "%v", err)
	}
}

// targeted looks at the devices that are selected: whether there are any, and which of them can hold the module (info,
// when it is known).
func (v *Validator) targeted(ctx context.Context, fs *Findings, a *v1alpha1.Application, say bool, info *module.Info, m v1alpha1.Manifest) {
	t := a.Spec.Targets
	devices, all, missing, err := v.selected(ctx, a.Namespace, t)
	switch {
	case err != nil:
		fs.unknown("spec.targets", err)
		return
	case say && len(missing) > 0:
		fs.warn("spec.targets.names", "", "", "%s not there yet and waited for: %s", there(len(missing)), names(missing))
	case say && len(devices) == 0 && t.Selector != nil:
		fs.warn("spec.targets.selector", "", "kubectl get devices --show-labels shows the labels that there are", "no device of namespace %s has these labels now", a.Namespace)
	}
	if info == nil || len(devices) == 0 {
		return
	}
	v.fits(fs, devices, all && len(missing) == 0, *info, m)
}

func there(n int) string {
	if n == 1 {
		return "1 device is"
	}
	return fmt.Sprintf("%d devices are", n)
}

// selected returns devices that targets select; all: there are no others.
func (v *Validator) selected(ctx context.Context, namespace string, t v1alpha1.Targets) (devices []v1alpha1.Device, all bool, missing []string, err error) {
	if len(t.Names) > 0 {
		for _, n := range t.Names[:min(len(t.Names), namedLooked)] {
			d, err := v.world.Device(ctx, namespace, n)
			switch {
			case errs.Is(err, errs.NotFound):
				missing = append(missing, n)
			case err != nil:
				return nil, false, nil, err
			default:
				devices = append(devices, *d)
			}
		}
		return devices, len(t.Names) <= namedLooked, missing, nil
	}
	sel := ""
	if !t.All {
		if t.Selector == nil {
			return nil, true, nil, nil
		}
		s, err := metav1.LabelSelectorAsSelector(t.Selector)
		if err != nil {
			return nil, false, nil, nil //nolint:nilerr // said by selector
		}
		sel = s.String()
	}
	devices, more, err := v.world.Devices(ctx, namespace, sel, lookedAt)
	return devices, !more, nil, err
}

// fits refuses a module that none of the devices can hold, and names those of some that cannot.
func (v *Validator) fits(fs *Findings, devices []v1alpha1.Device, all bool, info module.Info, m v1alpha1.Manifest) {
	type why struct {
		p     *module.Problem
		names []string
	}
	var cannot []*why
	byMessage := map[string]*why{}
	able := 0
	for i := range devices {
		d := &devices[i]
		p := v.deviceFit(d, info, m)
		if p == nil {
			able++
			continue
		}
		w := byMessage[p.Message]
		if w == nil {
			w = &why{p: p}
			byMessage[p.Message] = w
			cannot = append(cannot, w)
		}
		w.names = append(w.names, d.Name)
	}
	if len(cannot) == 0 {
		return
	}
	slices.SortStableFunc(cannot, func(a, b *why) int { return len(b.names) - len(a.names) })
	var parts []string
	for _, w := range cannot[:min(len(cannot), said)] {
		parts = append(parts, fmt.Sprintf("%s: %s", names(w.names), w.p.Message))
	}
	if n := len(cannot) - said; n > 0 {
		parts = append(parts, fmt.Sprintf("and %s", plural(n, "other reason")))
	}
	reason, text := cannot[0].p.Reason, strings.Join(parts, "; ")
	const mend = "a smaller module, less manifest.limits, or other targets"
	switch {
	case able > 0:
		fs.warn("spec.targets", reason, "the others get it", "%d of %s cannot hold the module: %s", len(devices)-able, plural(len(devices), "device"), text)
	case !all:
		fs.warn("spec.targets", reason, mend, "none of the first %s can hold the module: %s", plural(len(devices), "device"), text)
	default:
		fs.refuse("spec.targets", reason, mend, "no targeted device can hold the module (%s): %s", plural(len(devices), "device"), text)
	}
}

// deviceFit says why a device cannot hold a module. What it said itself when it connected counts; else what the table of
// boards says of its board. nil also when neither is known.
func (v *Validator) deviceFit(d *v1alpha1.Device, info module.Info, m v1alpha1.Manifest) *module.Problem {
	if c := d.Status.Capabilities; c != nil {
		return module.Fit(info, m, module.Room{Name: "board " + d.Spec.Board, ModuleSize: c.ModuleSize, ModuleMemory: c.ModuleMemory, Permissions: c.Permissions})
	}
	b, ok := v.boards[d.Spec.Board]
	if !ok || d.Spec.Emulation != nil && d.Spec.Emulation.Backend == v1alpha1.BackendHost {
		return nil // a host device in a board's place may have more room than the board
	}
	if b.Refused != "" {
		return &module.Problem{Reason: "Unsupported", Message: "board " + b.Name + ": " + b.Refused}
	}
	return module.Fit(info, m, b.room())
}
