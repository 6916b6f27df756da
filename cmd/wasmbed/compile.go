package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"wasmbed.io/wasmbed/api/source"
	"wasmbed.io/wasmbed/internal/errs"
)

// mains are the first files of the languages.
var mains = []struct{ file, language string }{
	{"main.c", "c"}, {"main.rs", "rust"}, {"main.ts", "assemblyscript"}, {"main.go", "tinygo"}, {"main.wat", "wat"},
}

// maxSources bounds what is read of a folder, bytes; the platform takes less.
const maxSources = 1 << 20

// compiled is the API's answer.
type compiled struct {
	source.Result
	Inspection *struct {
		Memory      int64    `json:"memory"`
		Permissions []string `json:"permissions"`
		Problem     string   `json:"problem"`
		Fits        []struct {
			Board  string `json:"board"`
			Fits   bool   `json:"fits"`
			Reason string `json:"reason"`
		} `json:"fits"`
	} `json:"inspection,omitempty"`
}

func (c *cli) compileCmd() *cobra.Command {
	var out string
	var stack, pages int
	cmd := &cobra.Command{
		Use: "compile FOLDER|FILE", Short: "Make a module of source code, on the platform's compilers",
		Long: "Make a module of source code, on the platform's compilers. A folder holds main.c, main.rs, main.ts, main.go or\nmain.wat and what it needs; what was wrong is said as FILE:LINE:COLUMN. wasmbed templates has something to start from.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := c.compile(cmd.Context(), args[0], stack, pages)
			if err != nil {
				if a != nil && c.output != "table" && c.output != "wide" { // a program reads what was wrong, too
					err = errors.Join(err, c.show(a, nil))
				}
				return err
			}
			if out == "" {
				out = strings.TrimSuffix(strings.TrimSuffix(filepath.Clean(args[0]), filepath.Ext(args[0])), "/") + ".wasm"
			}
			if err := os.WriteFile(out, a.Module, 0o644); err != nil {
				return errs.New(errs.Invalid, "%w", err)
			}
			return c.show(a, func(w *tabwriter.Writer, _ bool) {
				fmt.Fprintf(w, "%s: %d bytes, about %d KiB of RAM, needs permissions: %s\n", out, a.Size, (a.Inspection.Memory+1023)>>10, strings.Join(a.Inspection.Permissions, ", "))
				for _, f := range a.Inspection.Fits {
					if !f.Fits {
						row(w, "does not fit "+f.Board, f.Reason)
					}
				}
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "where to (default: the folder's name with .wasm)")
	compileFlags(cmd, &stack, &pages)
	return cmd
}

func compileFlags(cmd *cobra.Command, stack, pages *int) {
	cmd.Flags().IntVar(stack, "stack", 0, "bytes of stack (default 4096)")
	cmd.Flags().IntVar(pages, "pages", 0, "pages of 64 KiB of memory (default 1)")
}

// compile sends sources and prints what was wrong with them. The error is Invalid when they do not compile; then what was
// answered is returned, too.
func (c *cli) compile(ctx context.Context, path string, stack, pages int) (*compiled, error) {
	req, err := readSources(path)
	if err != nil {
		return nil, err
	}
	req.Stack, req.Pages = stack, pages
	var a compiled
	if err := c.rest.do(ctx, http.MethodPost, c.ns("compile"), nil, req, &a); err != nil {
		return nil, err
	}
	for _, d := range a.Diagnostics {
		where := ""
		if d.File != "" {
			where = fmt.Sprintf("%s:%d:%d: ", d.File, d.Line, d.Column)
		}
		fmt.Fprintf(c.err, "%s%s: %s\n", where, d.Severity, d.Message)
	}
	if len(a.Module) == 0 || a.Inspection == nil {
		return &a, errs.New(errs.Invalid, "%s does not compile", path)
	}
	if a.Inspection.Problem != "" {
		return &a, errs.New(errs.Invalid, "it compiles, but no device would take it: %s", a.Inspection.Problem)
	}
	return &a, nil
}

// readSources reads a folder, or one file.
func readSources(path string) (source.Request, error) {
	r := source.Request{Files: map[string]string{}}
	st, err := os.Stat(path)
	if err != nil {
		return r, errs.New(errs.Invalid, "%w", err)
	}
	if !st.IsDir() {
		for _, m := range mains {
			if filepath.Ext(path) == filepath.Ext(m.file) {
				b, err := os.ReadFile(path)
				if err != nil {
					return r, errs.New(errs.Invalid, "%w", err)
				}
				r.Language, r.Files[m.file] = m.language, string(b)
				return r, nil
			}
		}
		return r, errs.New(errs.Invalid, "%s is of no language that is compiled here", path).WithMend("it ends in .c, .rs, .ts, .go or .wat")
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return r, errs.New(errs.Invalid, "%w", err)
	}
	total := int64(0)
	for _, e := range entries {
		if e.Type()&fs.ModeType != 0 || strings.HasPrefix(e.Name(), ".") || !ofSource(e.Name()) {
			continue
		}
		if info, err := e.Info(); err == nil {
			total += info.Size()
		}
		if total > maxSources {
			return r, errs.New(errs.TooLarge, "more than %d bytes of source in %s", maxSources, path)
		}
		b, err := os.ReadFile(filepath.Join(path, e.Name()))
		if err != nil {
			return r, errs.New(errs.Invalid, "%w", err)
		}
		r.Files[e.Name()] = string(b)
	}
	for _, m := range mains {
		if _, ok := r.Files[m.file]; ok {
			r.Language = m.language
			for _, ours := range []string{"wasmbed.h", "wasmbed.rs", "wasmbed.ts"} { // the platform gives its own
				delete(r.Files, ours)
			}
			return r, nil
		}
	}
	return r, errs.New(errs.Invalid, "there is no main.c, main.rs, main.ts, main.go or main.wat in %s", path).WithMend("wasmbed templates NAME --out FOLDER makes one")
}

func ofSource(name string) bool {
	switch filepath.Ext(name) {
	case ".c", ".h", ".rs", ".ts", ".go", ".wat":
		return true
	}
	return false
}

func (c *cli) templatesCmd() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "templates [NAME --out FOLDER]", Short: "Modules to start from: list them, or write one to a folder", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var list struct {
				Items []source.Template `json:"items"`
			}
			if err := c.rest.do(cmd.Context(), http.MethodGet, "templates", nil, nil, &list); err != nil {
				return err
			}
			if len(args) == 0 {
				return c.show(list.Items, func(w *tabwriter.Writer, _ bool) {
					row(w, "NAME", "LANGUAGE", "PERMISSIONS", "WHAT")
					for _, t := range list.Items {
						row(w, t.Name, t.Language, strings.Join(t.Permissions, ","), t.Description)
					}
				})
			}
			for _, t := range list.Items {
				if t.Name == args[0] {
					return c.writeTemplate(t, out)
				}
			}
			return errs.New(errs.NotFound, "there is no template %q", args[0]).WithMend("wasmbed templates lists them")
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "folder to write it to (default: the template's name)")
	return cmd
}

func (c *cli) writeTemplate(t source.Template, out string) error {
	if out == "" {
		out = t.Name
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return errs.New(errs.Invalid, "%w", err)
	}
	for name, text := range t.Files {
		path := filepath.Join(out, filepath.Base(name))
		if _, err := os.Stat(path); err == nil {
			return errs.New(errs.AlreadyExists, "%s is there already", path).WithMend("give another --out")
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return errs.New(errs.Invalid, "%w", err)
		}
	}
	timers := ""
	for _, tm := range t.Timers {
		timers += fmt.Sprintf(" --timer %d=%s", tm.ID, tm.Period)
	}
	for k, v := range t.Config {
		timers += fmt.Sprintf(" --config %s=%s", k, v)
	}
	fmt.Fprintf(c.out, "%s is there. Next:\n  wasmbed dev %s --all --permission %s%s\n", out, out, strings.Join(t.Permissions, ","), timers)
	return nil
}

// devPoll is how often a source folder is looked at. Half a second is less than a person takes from one window to the
// next.
const devPoll = 500 * time.Millisecond

func (c *cli) devCmd() *cobra.Command {
	var f deployFlags
	var stack, pages int
	cmd := &cobra.Command{
		Use:     "dev FOLDER (--to NAME | --selector KEY=VALUE | --all)",
		Short:   "Watch source code: with every change compile, deploy, and say how it runs",
		Example: "  wasmbed templates counter --out counter\n  wasmbed dev counter --to frdmk64f --permission kv,log,telemetry --timer 1=1s",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.to == "" && f.selector == "" && !f.all {
				return errs.New(errs.Invalid, "which devices?").WithMend("give --to, --selector or --all")
			}
			if f.name == "" {
				abs, err := filepath.Abs(args[0])
				if err != nil {
					return errs.New(errs.Invalid, "%w", err)
				}
				f.name = strings.Trim(notName.ReplaceAllString(strings.ToLower(strings.TrimSuffix(filepath.Base(abs), filepath.Ext(abs))), "-"), "-")
			}
			f.wait = true
			return c.dev(cmd.Context(), args[0], &f, stack, pages)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.name, "name", "", "application (default: the folder's name)")
	fl.StringVar(&f.to, "to", "", "devices by name, separated by commas")
	fl.StringVar(&f.selector, "selector", "", "devices by label, KEY=VALUE[,KEY=VALUE…]")
	fl.BoolVar(&f.all, "all", false, "every device of the namespace")
	fl.StringSliceVar(&f.permissions, "permission", nil, "host functions that the module may use (default: those that it imports)")
	fl.StringToStringVar(&f.config, "config", nil, "KEY=VALUE that the module can read")
	fl.StringSliceVar(&f.timers, "timer", nil, "ID=PERIOD, like 1=5s")
	fl.DurationVar(&f.window, "health-window", 2*time.Second, "how long a new revision is on trial")
	fl.DurationVar(&f.timeout, "timeout", time.Minute, "how long to wait for the devices")
	compileFlags(cmd, &stack, &pages)
	return cmd
}

// dev compiles and deploys with every change, until interrupted. What goes wrong is said, and the next change is waited
// for.
func (c *cli) dev(ctx context.Context, path string, f *deployFlags, stack, pages int) error {
	dir, err := os.MkdirTemp("", "wasmbed-dev-")
	if err != nil {
		return errs.New(errs.Internal, "%w", err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "module.wasm")
	given := f.permissions
	tick := time.NewTicker(devPoll)
	defer tick.Stop()
	last, running := "", ""
	for {
		if seen := fingerprint(path); seen != last {
			last = seen
			begun := time.Now()
			a, err := c.compile(ctx, path, stack, pages)
			if err == nil && a.Digest != running {
				if err = os.WriteFile(file, a.Module, 0o600); err == nil {
					if f.permissions = given; given == nil {
						f.permissions = a.Inspection.Permissions
					}
					if err = c.deploy(ctx, file, f); err == nil {
						running = a.Digest
						fmt.Fprintf(c.err, "%s: %d bytes run after %.1f s; watching %s\n", f.name, a.Size, time.Since(begun).Seconds(), path)
					}
				}
			}
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				fmt.Fprintf(c.err, "%v\n", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// fingerprint changes when a source file does.
func fingerprint(path string) string {
	var b strings.Builder
	_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error { // what cannot be read is told by compile
		if err == nil && !d.IsDir() && ofSource(p) {
			if info, err := d.Info(); err == nil {
				fmt.Fprintf(&b, "%s %d %d\n", p, info.Size(), info.ModTime().UnixNano())
			}
		}
		return nil
	})
	return b.String()
}
