package validate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"

	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/v1alpha1"
)

// Module checks a Module; old is nil for a new one.
func (v *Validator) Module(_ context.Context, old, m *v1alpha1.Module) Findings {
	var fs Findings
	if old != nil && equality.Semantic.DeepEqual(old.Spec, m.Spec) {
		return nil
	}
	if p := module.DigestProblem(m.Spec.Digest, m.Spec.Bytes); p != nil {
		fs.refuse("spec.digest", p.Reason, "leave digest out, or give the bytes that it is of", "%s", p.Message)
	}
	info, err := module.Inspect(m.Spec.Bytes)
	if err == nil {
		err = module.Check(info, permissive(info))
	}
	if err != nil {
		p := problem(err)
		fs.refuse("spec.bytes", p.Reason, "docs/spec/abi.md says what a module is", "no device would run it: %s", p.Message)
		return fs
	}
	v.anyBoard(&fs, "spec.bytes", info, permissive(info))
	return fs
}

// permissive is the manifest that asks nothing of a module.
func permissive(info module.Info) v1alpha1.Manifest {
	m := v1alpha1.Manifest{Permissions: module.Permissions(info), Limits: v1alpha1.Limits{MemoryPages: int32(max(1, info.MemoryPages))}}
	m.Default()
	return m
}

// problem is the problem inside an error of api/module.
func problem(err error) *module.Problem {
	var p *module.Problem
	if errors.As(err, &p) {
		return p
	}
	return &module.Problem{Reason: module.ReasonNotWasm, Message: err.Error()}
}

// anyBoard warns when no board of the table can hold a module: somebody may have a board of their own.
func (v *Validator) anyBoard(fs *Findings, field string, info module.Info, m v1alpha1.Manifest) {
	var most *module.Problem // of the board with the most room, which says most
	room := int64(-1)
	for _, b := range v.table {
		if b.Refused != "" {
			continue
		}
		p := module.Fit(info, m, b.room())
		if p == nil {
			return
		}
		if b.ModuleMemory > room {
			most, room = p, b.ModuleMemory
		}
	}
	if most != nil {
		fs.warn(field, most.Reason, "", "no board of the table of boards can hold it; for one, %s", most.Message)
	}
}

func (b Board) room() module.Room {
	return module.Room{Name: "board " + b.Name, ModuleSize: b.ModuleSize, ModuleMemory: b.ModuleMemory}
}

// ModuleGone says who still needs a Module that is to be deleted.
func (v *Validator) ModuleGone(ctx context.Context, m *v1alpha1.Module) Findings {
	var fs Findings
	apps, err := v.world.Applications(ctx, m.Namespace, appsLooked)
	if err != nil {
		return nil // it is gone whatever would be said
	}
	var users []string
	for i := range apps {
		if apps[i].Spec.Module.Name == m.Name && apps[i].DeletionTimestamp == nil {
			users = append(users, apps[i].Name)
		}
	}
	slices.Sort(users)
	if len(users) > 0 {
		fs.warn("", "ModuleInUse", "apply it again, or give them another module",
			"%s (%s) names Module %s: devices that have it keep it, others cannot get it any more", plural(len(users), "application"), names(users), m.Name)
	}
	return fs
}

// runnable checks a module against the manifest that it is to run with, and says where the mistake is.
func runnable(fs *Findings, field string, b []byte, m v1alpha1.Manifest) (module.Info, bool) {
	info, err := module.Inspect(b)
	if err != nil {
		p := problem(err)
		fs.refuse(field, p.Reason, "docs/spec/abi.md says what a module is", "%s", p.Message)
		return info, false
	}
	if err = module.Check(info, m); err == nil {
		return info, true
	}
	switch p := problem(err); p.Reason {
	case module.ReasonPermissionDenied:
		fs.refuse("spec.manifest.permissions", p.Reason, fmt.Sprintf("permit what it needs (%v), or use another module", module.Permissions(info)), "%s", p.Message)
	case module.ReasonInsufficientMemory:
		fs.refuse("spec.manifest.limits.memoryPages", p.Reason, fmt.Sprintf("at least %d", info.MemoryPages), "%s", p.Message)
	default:
		fs.refuse(field, p.Reason, "docs/spec/abi.md says what devices offer", "%s", p.Message)
	}
	return info, false
}
