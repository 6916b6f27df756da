// Package compile turns source code into modules that fit microcontrollers: C, Rust, AssemblyScript, TinyGo and WAT,
// each where its compiler is. What it compiles is a stranger's, so a compiler runs in a sandbox (bubblewrap): without
// network, seeing nothing but itself and the sources, with limits on time, memory and output, and with nothing of the
// environment.
package compile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/source"
	"wasmbed.io/wasmbed/internal/errs"
)

// Name of this function.
const Name = "compile"

// Deps is what it works with.
type Deps struct {
	// Cache is a folder for what was compiled, which may be emptied at any time. Empty: nothing is kept.
	Cache string
	// AssemblyScript is the folder of the assemblyscript package of npm. Empty: asc is looked for on PATH.
	AssemblyScript string
	Now            func() time.Time
	Log            *slog.Logger
}

// Function compiles. Safe for concurrent use.
type Function struct {
	d     Deps
	cache cache
	turn  chan struct{} // who compiles
	queue chan struct{} // who compiles or waits

	mu     sync.Mutex
	probed map[string]probe
}

var _ source.Compiler = (*Function)(nil)

// New returns the function.
func New(d Deps) *Function {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return &Function{d: d, cache: cache{dir: d.Cache}, turn: make(chan struct{}, parallel), queue: make(chan struct{}, parallel+waiting), probed: map[string]probe{}}
}

// Compile implements source.Compiler.
func (f *Function) Compile(ctx context.Context, r source.Request) (source.Result, error) {
	l, err := f.check(&r)
	if err != nil {
		return source.Result{}, err
	}
	p := f.probe(ctx, l)
	if p.why != "" {
		return source.Result{}, errs.New(errs.Unsupported, "%s cannot be compiled here: %s", l.title, p.why).WithMend("%s", p.mend)
	}
	key := digest(r, p.version)
	if out, ok := f.cache.get(key); ok {
		out.Cached, out.Seconds = true, 0
		return out, nil
	}
	select {
	case f.queue <- struct{}{}:
		defer func() { <-f.queue }()
	default:
		return source.Result{}, errs.New(errs.Exhausted, "%d compilations wait already", waiting).WithMend("try again in a moment")
	}
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return source.Result{}, errs.New(errs.Deadline, "no turn came: %w", ctx.Err())
	}
	begun := f.d.Now()
	out, err := f.run(ctx, l, p, r)
	if err != nil {
		return source.Result{}, err
	}
	out.Seconds = f.d.Now().Sub(begun).Seconds()
	if err := f.cache.put(key, out); err != nil {
		f.d.Log.Info("not kept", "err", err)
	}
	return out, nil
}

// check refuses what is no request, and fills in what it leaves out.
func (f *Function) check(r *source.Request) (*language, error) {
	l := languageOf(r.Language)
	if l == nil {
		return nil, errs.New(errs.Invalid, "there is no language %q", r.Language).WithMend("it is one of %s", strings.Join(languageNames(), ", "))
	}
	if len(r.Files) == 0 || len(r.Files) > maxFiles {
		return nil, errs.New(errs.Invalid, "%d files; 1 to %d", len(r.Files), maxFiles)
	}
	if _, ok := r.Files[l.main]; !ok {
		return nil, errs.New(errs.Invalid, "there is no %s", l.main)
	}
	size := 0
	for name, text := range r.Files {
		if !fileName(name) {
			return nil, errs.New(errs.Invalid, "%q is not the name of a file here: letters, digits, '.', '-' and '_', at most %d bytes", name, maxName)
		}
		if _, ours := l.sdk[name]; ours {
			return nil, errs.New(errs.Invalid, "%s is given by the platform", name).WithMend("leave it out")
		}
		size += len(text)
	}
	if size > maxSource {
		return nil, errs.New(errs.TooLarge, "%d bytes of source; at most %d", size, maxSource)
	}
	if r.Stack == 0 {
		r.Stack = 4096
	}
	if r.Pages == 0 {
		r.Pages = 1
	}
	if r.Stack < minStack || r.Stack > maxStack || r.Stack%16 != 0 {
		return nil, errs.New(errs.Invalid, "a stack of %d bytes; %d to %d, a multiple of 16", r.Stack, minStack, maxStack)
	}
	if r.Pages < 1 || r.Pages > maxPages {
		return nil, errs.New(errs.Invalid, "%d pages; 1 to %d", r.Pages, maxPages)
	}
	return l, nil
}

func fileName(s string) bool {
	if s == "" || len(s) > maxName || s[0] == '.' || s[0] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

// digest names a compilation: the same sources, options, compiler and headers.
func digest(r source.Request, version string) string {
	h := sha256.New()
	put := func(parts ...string) {
		for _, p := range parts {
			fmt.Fprintf(h, "%d:%s", len(p), p)
		}
	}
	put(r.Language, version, fmt.Sprint(r.Stack), fmt.Sprint(r.Pages))
	l := languageOf(r.Language)
	for _, files := range []map[string]string{r.Files, l.sdk} {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			put(name, files[name])
		}
	}
	put(l.command(paths{}, r)...)
	return hex.EncodeToString(h.Sum(nil))
}

// run compiles in a folder of its own.
func (f *Function) run(ctx context.Context, l *language, p probe, r source.Request) (source.Result, error) {
	dir, err := os.MkdirTemp("", "wasmbed-compile-")
	if err != nil {
		return source.Result{}, errs.New(errs.Internal, "compile: %w", err)
	}
	defer os.RemoveAll(dir)
	for _, files := range []map[string]string{l.sdk, r.Files} {
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				return source.Result{}, errs.New(errs.Internal, "compile: %w", err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, wallTime)
	defer cancel()
	printed, failed, err := sandboxed(ctx, dir, p.paths, l.command(p.paths, r))
	if err != nil {
		return source.Result{}, err
	}
	out := source.Result{Log: printed, Compiler: p.version, Diagnostics: l.findings(printed)}
	b, err := readBounded(filepath.Join(dir, output), maxModule)
	switch {
	case failed || os.IsNotExist(err):
		if !slices.ContainsFunc(out.Diagnostics, func(d source.Diagnostic) bool { return d.Severity == source.Error }) {
			out.Diagnostics = append(out.Diagnostics, source.Diagnostic{Severity: source.Error, Message: lastLine(printed)})
		}
		return out, nil
	case err != nil:
		return out, err
	}
	if _, err := module.Inspect(b); err != nil {
		out.Diagnostics = append(out.Diagnostics, source.Diagnostic{Severity: source.Error, Message: "what the compiler made is no module that devices take: " + err.Error()})
		return out, nil
	}
	out.Module, out.Size, out.Digest = b, len(b), module.Digest(b)
	return out, nil
}

func readBounded(path string, most int64) ([]byte, error) {
	st, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errs.New(errs.Invalid, "the compiler left no plain file")
	}
	if st.Size() > most {
		return nil, errs.New(errs.TooLarge, "a module of %d bytes; at most %d", st.Size(), most)
	}
	return os.ReadFile(path)
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return last
	}
	return "the compiler failed and said nothing: it may have needed more time or memory than it may have"
}

// Languages implements source.Compiler.
func (f *Function) Languages(ctx context.Context) ([]source.Language, error) {
	var out []source.Language
	for _, l := range languages() {
		p := f.probe(ctx, &l)
		item := source.Language{Name: l.name, Title: l.title, Main: l.main, Available: p.why == "", Version: p.version}
		if p.why != "" {
			item.Why = p.why + "; " + p.mend
		}
		out = append(out, item)
	}
	return out, nil
}

// cache keeps results by what they were made of.
type cache struct{ dir string }

func (c cache) get(key string) (source.Result, bool) {
	var r source.Result
	if c.dir == "" {
		return r, false
	}
	path := filepath.Join(c.dir, key+".json")
	b, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(b, &r) != nil || module.Digest(r.Module) != r.Digest {
		return source.Result{}, false
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now) // the oldest goes first; a wrong time costs a compilation
	return r, true
}

// put keeps a module. What did not compile is not kept: a person is about to change it.
func (c cache) put(key string, r source.Result) error {
	if c.dir == "" || r.Digest == "" {
		return nil
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(c.dir, "new-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(b)
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(c.dir, key+".json"))
	}
	if err != nil {
		return err
	}
	return c.trim()
}

// trim forgets the modules that were used longest ago.
func (c cache) trim() error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	type old struct {
		path string
		size int64
		used time.Time
	}
	var all []old
	total := int64(0)
	for _, e := range entries {
		st, err := e.Info()
		if err != nil || !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		all = append(all, old{filepath.Join(c.dir, e.Name()), st.Size(), st.ModTime()})
		total += st.Size()
	}
	slices.SortFunc(all, func(a, b old) int { return a.used.Compare(b.used) })
	for _, o := range all {
		if total <= cacheSize {
			break
		}
		if os.Remove(o.path) == nil {
			total -= o.size
		}
	}
	return nil
}
