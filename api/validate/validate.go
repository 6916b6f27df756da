// Package validate says of an object what its CRD's schema and CEL rules cannot: whether a module's digest is that of its
// bytes, whether a device offers what it imports, whether the devices that an Application targets can hold it, whether
// what is referred to is there, and what does not make sense together. The admission webhooks and the REST API ask the
// same checks, so that an object is judged alike wherever it comes in.
//
// Two rules hold throughout. What an update does not touch is not held against it: an object that became wrong
// (its board was taken out of the table, its devices were changed) can still be paused, mended and deleted. And what could
// not be looked up refuses nothing: the functions look again before anything is sent to a device.
package validate

import (
	"context"
	"fmt"
	"strings"
	"time"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// Limits of one check.
const (
	lookedAt    = 500 // devices of a selection that are looked at; an application's check does not grow with the fleet
	namedLooked = 32  // devices named one by one that are looked at
	said        = 3   // names that a message has; the rest is a number
	maxWarnings = 16  // of one object; the rest is a number
	appsLooked  = 200 // applications that are asked whether they use a module
)

// Finding is one thing that is wrong with an object, or worth a word.
type Finding struct {
	Field   string // path, such as spec.module.inline
	Reason  string // in one word, where the platform has one for it; may be empty
	Cause   string
	Mend    string // what to do about it; may be empty
	Warning bool   // a word of warning: the object is taken
}

func (f Finding) String() string {
	var b strings.Builder
	if f.Field != "" {
		b.WriteString(f.Field + ": ")
	}
	if f.Reason != "" {
		b.WriteString(f.Reason + ": ")
	}
	b.WriteString(f.Cause)
	if f.Mend != "" {
		b.WriteString(" — " + f.Mend)
	}
	return oneLine(b.String())
}

// oneLine keeps a message what a warning header can carry: control characters would have the API server drop it.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// Findings are what is to be said of one object.
type Findings []Finding

// Errors are the findings that refuse the object.
func (fs Findings) Errors() Findings { return fs.pick(false) }

// Warnings are the others, as lines; a bounded number of them.
func (fs Findings) Warnings() []string {
	var out []string
	for _, f := range fs.pick(true) {
		if len(out) == maxWarnings {
			return append(out, "there are more warnings")
		}
		out = append(out, f.String())
	}
	return out
}

func (fs Findings) pick(warning bool) Findings {
	var out Findings
	for _, f := range fs {
		if f.Warning == warning {
			out = append(out, f)
		}
	}
	return out
}

// Err is errs.Invalid when something refuses the object, with every cause, else nil.
func (fs Findings) Err() error {
	bad := fs.Errors()
	if len(bad) == 0 {
		return nil
	}
	lines := make([]string, len(bad))
	for i, f := range bad {
		if len(bad) == 1 {
			mend := f.Mend
			f.Mend = ""
			e := errs.New(errs.Invalid, "%s", f.String())
			if mend == "" {
				return e
			}
			return e.WithMend("%s", mend)
		}
		lines[i] = f.String()
	}
	return errs.New(errs.Invalid, "%s", strings.Join(lines, "; "))
}

func (fs *Findings) refuse(field, reason, mend, cause string, args ...any) {
	*fs = append(*fs, Finding{Field: field, Reason: reason, Mend: mend, Cause: fmt.Sprintf(cause, args...)})
}

func (fs *Findings) warn(field, reason, mend, cause string, args ...any) {
	*fs = append(*fs, Finding{Field: field, Reason: reason, Mend: mend, Cause: fmt.Sprintf(cause, args...), Warning: true})
}

// unknown: a look-up failed, so nothing can be said.
func (fs *Findings) unknown(field string, err error) {
	if errs.Is(err, errs.Denied) {
		return // where it may not be looked, it was not meant to be
	}
	fs.warn(field, "", "", "not checked: %v", err)
}

// Board is what the table of boards says of one. Sizes are bytes, 0: not known.
type Board struct {
	Name         string
	Refused      string // why no firmware can run there; empty: it can
	QEMU, Renode bool   // the backend knows it
	ModuleMemory int64
	ModuleSize   int64
}

// World is where what an object refers to is looked up. Errors: NotFound; Denied where the caller may not look; any other
// when nobody knows.
type World interface {
	Module(ctx context.Context, namespace, name string) (*v1alpha1.Module, error)
	Device(ctx context.Context, namespace, name string) (*v1alpha1.Device, error)
	Application(ctx context.Context, namespace, name string) (*v1alpha1.Application, error)
	Revision(ctx context.Context, namespace, name string) (*v1alpha1.Revision, error)
	// Devices lists at most n of the namespace's devices that a label selector fits; more: there are others.
	Devices(ctx context.Context, namespace, selector string, n int) (items []v1alpha1.Device, more bool, err error)
	// Applications lists at most n of the namespace's applications.
	Applications(ctx context.Context, namespace string, n int) ([]v1alpha1.Application, error)
	// Gateway and Secret say whether there is one.
	Gateway(ctx context.Context, namespace, name string) error
	Secret(ctx context.Context, namespace, name string) error
}

// Validator checks objects. Safe for concurrent use.
type Validator struct {
	world  World
	table  []Board          // empty: no table, and no board is known to be wrong
	boards map[string]Board // the same by name
	now    func() time.Time
}

// New returns a Validator. now has a default.
func New(world World, boards []Board, now func() time.Time) *Validator {
	if now == nil {
		now = time.Now
	}
	v := &Validator{world: world, table: boards, boards: make(map[string]Board, len(boards)), now: now}
	for _, b := range boards {
		v.boards[b.Name] = b
	}
	return v
}

// names is a list for a message: the first few, and how many more.
func names(of []string) string {
	if len(of) <= said {
		return strings.Join(of, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(of[:said], ", "), len(of)-said)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
