package api

import (
	"net/http"

	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/source"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

func (a *API) compileRoutes() []route {
	return []route{
		{"GET", "/api/v1/languages", "", "", a.languages},
		{"GET", "/api/v1/templates", "", "", a.templates},
		{"POST", "/api/v1/namespaces/:namespace/compile", "create", "modules/compile", a.compile},
		{"POST", "/api/v1/namespaces/:namespace/inspect", "create", "modules/compile", a.inspect},
	}
}

func (a *API) compiler() (source.Compiler, error) {
	if a.Compiler == nil {
		return nil, errs.New(errs.Unsupported, "nothing is compiled here: this platform has no compile function")
	}
	return a.Compiler, nil
}

func (a *API) languages(w http.ResponseWriter, r *request) error {
	c, err := a.compiler()
	if err != nil {
		return err
	}
	items, err := c.Languages(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, listAnswer[source.Language]{Items: items})
}

func (a *API) templates(w http.ResponseWriter, r *request) error {
	c, err := a.compiler()
	if err != nil {
		return err
	}
	items, err := c.Templates(r.Context())
	if err != nil {
		return err
	}
	if items == nil {
		items = []source.Template{}
	}
	return writeJSON(w, http.StatusOK, listAnswer[source.Template]{Items: items})
}

// compileAnswer is what a compilation made, and where it fits.
type compileAnswer struct {
	source.Result
	Inspection *inspection `json:"inspection,omitempty"`
}

// inspection is what can be said of a module without running it.
type inspection struct {
	Digest      string                `json:"digest"`
	Size        int                   `json:"size"`
	MemoryPages uint32                `json:"memoryPages"`
	Functions   int                   `json:"functions"`
	Imports     []string              `json:"imports"`
	Exports     []string              `json:"exports"`
	Permissions []v1alpha1.Permission `json:"permissions"` // that its imports need
	Memory      int64                 `json:"memory"`      // estimated RAM of one instance, bytes
	Problem     string                `json:"problem,omitempty"`
	Fits        []fit                 `json:"fits"`
}

// fit says whether a module fits a board.
type fit struct {
	Board  string `json:"board"`
	Fits   bool   `json:"fits"`
	Reason string `json:"reason,omitempty"`
}

func (a *API) compile(w http.ResponseWriter, r *request) error {
	c, err := a.compiler()
	if err != nil {
		return err
	}
	var body source.Request
	if err := decode(r, &body); err != nil {
		return err
	}
	out, err := c.Compile(r.Context(), body)
	if err != nil {
		return err
	}
	ans := compileAnswer{Result: out}
	if len(out.Module) > 0 {
		if ans.Inspection, err = a.look(out.Module); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, ans)
}

// inspectBody is a module to be looked at.
type inspectBody struct {
	Module []byte `json:"module"`
}

func (a *API) inspect(w http.ResponseWriter, r *request) error {
	var body inspectBody
	if err := decode(r, &body); err != nil {
		return err
	}
	i, err := a.look(body.Module)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, i)
}

// look inspects a module. Errors: Invalid for bytes that are none.
func (a *API) look(b []byte) (*inspection, error) {
	info, err := module.Inspect(b)
	if err != nil {
		return nil, errs.New(errs.Invalid, "%w", err)
	}
	i := &inspection{
		Digest: module.Digest(b), Size: len(b), MemoryPages: info.MemoryPages, Functions: int(info.Functions), Imports: []string{}, Exports: []string{},
		Permissions: module.Permissions(info), Fits: []fit{},
	}
	if i.Permissions == nil {
		i.Permissions = []v1alpha1.Permission{}
	}
	for _, im := range info.Imports {
		i.Imports = append(i.Imports, im.Module+"."+im.Name)
	}
	for _, ex := range info.Exports {
		i.Exports = append(i.Exports, ex.Name)
	}
	m := v1alpha1.Manifest{Permissions: i.Permissions, Limits: v1alpha1.Limits{MemoryPages: int32(max(1, info.MemoryPages))}}
	if err := module.Check(info, m); err != nil {
		i.Problem = err.Error()
	}
	i.Memory = module.EstimateParts(info, m).Total
	for _, b := range a.Boards {
		f := fit{Board: b.Name, Reason: b.Refused}
		switch {
		case b.Refused != "":
		case i.Problem != "":
			f.Reason = i.Problem
		default:
			if p := module.Fit(info, m, module.Room{Name: "board " + b.Name, ModuleSize: b.ModuleSize, ModuleMemory: b.ModuleMemory}); p != nil {
				f.Reason = p.Error()
			}
		}
		f.Fits = f.Reason == ""
		i.Fits = append(i.Fits, f)
	}
	return i, nil
}
