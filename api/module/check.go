package module

import (
	"fmt"
	"slices"
	"strings"

	"wasmbed.io/wasmbed/api/v1alpha1"
)

// HostModule is the only module that a device offers imports from.
const HostModule = "wasmbed"

// EntryPoint is the export that every module must have.
const EntryPoint = "wasmbed_start"

// PageSize is a page of linear memory, in bytes.
const PageSize = 64 << 10

// HostFunction is one function of the module ABI (docs/spec/abi.md).
type HostFunction struct {
	Permission v1alpha1.Permission // empty: every module may import it
	Type       FuncType
}

// hostFunctions returns the module ABI, version 1.
func hostFunctions() map[string]HostFunction {
	return map[string]HostFunction{
		"log":          {"log", FuncType{"iii", ""}},
		"clock_now":    {"clock", FuncType{"", "I"}},
		"clock_uptime": {"clock", FuncType{"", "I"}},
		"telemetry":    {"telemetry", FuncType{"iiF", "i"}},
		"message_send": {"message", FuncType{"iiii", "i"}},
		"kv_get":       {"kv", FuncType{"iiii", "i"}},
		"kv_set":       {"kv", FuncType{"iiii", "i"}},
		"gpio_read":    {"gpio", FuncType{"i", "i"}},
		"gpio_write":   {"gpio", FuncType{"ii", "i"}},
		"sensor_read":  {"sensor", FuncType{"ii", "i"}},
		"timer_set":    {"timer", FuncType{"ii", "i"}},
		"random":       {"random", FuncType{"ii", ""}},
		"config_get":   {"", FuncType{"iiii", "i"}},
	}
}

// startType is EntryPoint's type. Exports of the other entry points' names with another type are not called
// by a device, which is no error.
var startType = FuncType{"", "i"}

// Check says whether a module may run with a manifest, on a device that has everything (docs/spec/abi.md,
// "The module"). Its error is
// errs.Invalid with a Problem inside that names the first thing that is wrong.
func Check(info Info, m v1alpha1.Manifest) error {
	abi := hostFunctions()
	for _, im := range info.Imports {
		if err := checkImport(im, abi, m.Permissions); err != nil {
			return err
		}
	}
	if err := checkExports(info); err != nil {
		return err
	}
	if err := checkLimits(info); err != nil {
		return err
	}
	if limit := uint32(max(m.Limits.MemoryPages, 0)); info.MemoryPages > limit {
		return problem(ReasonInsufficientMemory, fmt.Sprintf(
			"the module starts with %s of memory, manifest.limits.memoryPages allows %d", pages(info.MemoryPages), limit))
	}
	return nil
}

// checkLimits is for what a device's runtime would refuse after it was sent.
func checkLimits(info Info) error {
	switch {
	case info.Unsupported != "":
		return problem(ReasonNotWasm, fmt.Sprintf("the module uses what no device runs: %s (docs/spec/abi.md, \"The module\")", info.Unsupported))
	case info.shape.mostLocals > maxLocals:
		return problem(ReasonNotWasm, fmt.Sprintf("a function has more than %d locals", maxLocals))
	case info.shape.mostEntries > maxEntries:
		return problem(ReasonNotWasm, fmt.Sprintf("a table has more than %d entries at the start", maxEntries))
	}
	return nil
}

func checkExports(info Info) error {
	start, memory := false, false
	for _, ex := range info.Exports {
		switch {
		case ex.Name == EntryPoint && (ex.Kind != KindFunc || ex.Type != startType):
			return problem(ReasonNoEntryPoint, fmt.Sprintf("export %s is a %s %s, a function %s is needed", ex.Name, ex.Kind, ex.Type, startType))
		case ex.Name == EntryPoint:
			start = true
		case ex.Name == "memory" && ex.Kind == KindMemory:
			memory = true
		}
	}
	switch {
	case !start:
		return problem(ReasonNoEntryPoint, fmt.Sprintf("the module exports no function %s %s", EntryPoint, startType))
	case !memory:
		return problem(ReasonNotWasm, "the module exports no memory named memory")
	}
	return nil
}

func checkImport(im Import, abi map[string]HostFunction, permitted []v1alpha1.Permission) error {
	if im.Module != HostModule {
		return problem(ReasonMissingImport, fmt.Sprintf("imports %s %s; a device offers functions of %q only", im.Kind, im, HostModule))
	}
	fn, ok := abi[im.Name]
	switch {
	case !ok || im.Kind != KindFunc:
		return problem(ReasonMissingImport, fmt.Sprintf("imports %s %s, which does not exist (docs/spec/abi.md lists what does)", im.Kind, im))
	case im.Type != fn.Type:
		return problem(ReasonMissingImport, fmt.Sprintf("imports %s as %s; it is %s", im, im.Type, fn.Type))
	case fn.Permission != "" && !slices.Contains(permitted, fn.Permission):
		return problem(ReasonPermissionDenied, fmt.Sprintf("imports %s, which needs permission %q; manifest.permissions has %s", im, fn.Permission, join(permitted)))
	}
	return nil
}

// PermissionOf returns the permission that an import needs, "" for none. The error is Check's when no device offers it.
func PermissionOf(im Import) (v1alpha1.Permission, error) {
	abi := hostFunctions()
	fn := abi[im.Name]
	return fn.Permission, checkImport(im, abi, []v1alpha1.Permission{fn.Permission})
}

// Permissions returns the permissions that a module's imports need, sorted.
func Permissions(info Info) []v1alpha1.Permission {
	abi := hostFunctions()
	var out []v1alpha1.Permission
	for _, im := range info.Imports {
		if p := abi[im.Name].Permission; im.Module == HostModule && p != "" && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

func pages(n uint32) string {
	if n == 1 {
		return "1 page (64 KiB)"
	}
	return fmt.Sprintf("%d pages (%d KiB)", n, n*(PageSize>>10))
}

func join(ps []v1alpha1.Permission) string {
	if len(ps) == 0 {
		return "none"
	}
	var out []string
	for _, p := range ps {
		out = append(out, string(p))
	}
	return strings.Join(out, ", ")
}
