package compile

import (
	"embed"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"wasmbed.io/wasmbed/api/source"
)

//go:embed sdk
var sdkFiles embed.FS

// language is one that can be compiled.
type language struct {
	name, title, main, mend string
	sdk                     map[string]string // files that stand beside the sources
	find                    func(d Deps) probe
	version                 func(p paths) []string
	command                 func(p paths, r source.Request) []string
	findings                func(printed string) []source.Diagnostic
}

func languages() []language { return []language{c(), rust(), assemblyScript(), tinyGo(), wat()} }

func languageNames() []string {
	var out []string
	for _, l := range languages() {
		out = append(out, l.name)
	}
	return out
}

func languageOf(name string) *language {
	for _, l := range languages() {
		if l.name == name {
			return &l
		}
	}
	return nil
}

// sdk reads files of the folder sdk. A name that is not there is found by the package's tests.
func sdk(names ...string) map[string]string {
	out := map[string]string{}
	for _, n := range names {
		if b, err := fs.ReadFile(sdkFiles, path.Join("sdk", n)); err == nil {
			out[n] = string(b)
		}
	}
	return out
}

// need finds programs below /usr, of which the first is the compiler.
func need(mend string, names ...string) func(Deps) probe {
	return func(Deps) probe {
		var first string
		for i, n := range names {
			p := inUsr(n)
			if p == "" {
				return probe{why: n + " is missing", mend: mend}
			}
			if i == 0 {
				first = p
			}
		}
		return probe{paths: paths{program: first}}
	}
}

func sources(r source.Request, suffix string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(r.Files)) {
		if strings.HasSuffix(name, suffix) {
			out = append(out, name)
		}
	}
	return out
}

// linked are wasm-ld's flags. The stack stands first, so that running over it is a trap and not a write into data;
// __heap_base and __data_end let a runtime shrink the memory to what is used.
func linked(r source.Request) []string {
	bytes := strconv.Itoa(r.Pages * 65536)
	return []string{"--no-entry", "--strip-all", "--export=__heap_base", "--export=__data_end", "-z", "stack-size=" + strconv.Itoa(r.Stack),
		"--stack-first", "--initial-memory=" + bytes, "--max-memory=" + bytes}
}

func c() language {
	const mend = "install LLVM's C compiler and linker (Debian: apt-get install clang lld)"
	return language{
		name: "c", title: "C", main: "main.c", mend: mend, sdk: sdk("wasmbed.h"),
		find:    need(mend, "clang", "wasm-ld"),
		version: func(p paths) []string { return []string{p.program, "--version"} },
		command: func(p paths, r source.Request) []string {
			args := []string{p.program, "--target=wasm32", "-Os", "-std=c11", "-Wall", "-Wextra", "-ffreestanding", "-fno-builtin", "-fvisibility=hidden",
				"-nostdlib", "-fno-color-diagnostics", "-fno-caret-diagnostics", "-fuse-ld=lld", "-I."}
			flags := linked(r)
			for i := 0; i < len(flags); i++ {
				if flags[i] == "-z" {
					args = append(args, "-Wl,-z,"+flags[i+1])
					i++
					continue
				}
				args = append(args, "-Wl,"+flags[i])
			}
			return append(append(args, "-o", output), sources(r, ".c")...)
		},
		findings: colons,
	}
}

func rust() language {
	const mend = "install Rust with the target wasm32-unknown-unknown below /usr (Debian: apt-get install rustc libstd-rust-dev-wasm32 lld)"
	return language{
		name: "rust", title: "Rust", main: "main.rs", mend: mend, sdk: sdk("wasmbed.rs"),
		find: func(d Deps) probe {
			p := need(mend, "rustc", "wasm-ld")(d)
			if p.why != "" {
				return p
			}
			if found, _ := filepath.Glob("/usr/lib/rustlib/wasm32-unknown-unknown/lib/libcore*"); len(found) == 0 {
				return probe{why: "rustc has no target wasm32-unknown-unknown", mend: mend}
			}
			return p
		},
		version: func(p paths) []string { return []string{p.program, "--version"} },
		command: func(p paths, r source.Request) []string {
			args := []string{p.program, "--target", "wasm32-unknown-unknown", "--crate-type", "cdylib", "--edition", "2021", "--error-format", "json",
				"-C", "opt-level=z", "-C", "panic=abort", "-C", "codegen-units=1", "-C", "lto=fat", "-C", "strip=symbols", "-C", "linker=/usr/bin/wasm-ld", "-C", "linker-flavor=wasm-ld"}
			for _, f := range linked(r) {
				args = append(args, "-C", "link-arg="+f)
			}
			return append(args, "-o", output, "main.rs")
		},
		findings: rustFindings,
	}
}

func assemblyScript() language {
	const mend = "install Node.js and AssemblyScript (npm ci in firmware/modules, or npm install -g assemblyscript) and say where its folder is (WASMBED_COMPILE_ASSEMBLYSCRIPT)"
	return language{
		name: "assemblyscript", title: "AssemblyScript", main: "main.ts", mend: mend, sdk: sdk("wasmbed.ts"),
		find: func(d Deps) probe {
			node, err := exec.LookPath("node")
			if err != nil {
				return probe{why: "node is missing", mend: mend}
			}
			if node, err = filepath.EvalSymlinks(node); err != nil {
				return probe{why: err.Error(), mend: mend}
			}
			folder := d.AssemblyScript
			if folder == "" {
				asc, err := exec.LookPath("asc")
				if err != nil {
					return probe{why: "AssemblyScript is missing", mend: mend}
				}
				if asc, err = filepath.EvalSymlinks(asc); err != nil {
					return probe{why: err.Error(), mend: mend}
				}
				folder = filepath.Dir(filepath.Dir(asc))
			}
			if folder, err = filepath.Abs(folder); err != nil {
				return probe{why: err.Error(), mend: mend}
			}
			script := filepath.Join(folder, "bin", "asc.js")
			if _, err := os.Stat(script); err != nil {
				return probe{why: "there is no AssemblyScript in " + folder, mend: mend}
			}
			see := []string{filepath.Dir(folder)} // with the packages that it needs
			if !strings.HasPrefix(node, "/usr/") {
				see = append(see, node)
			}
			return probe{paths: paths{program: node, script: script, see: see}}
		},
		version: func(p paths) []string { return []string{p.program, p.script, "--version"} },
		command: func(p paths, r source.Request) []string {
			pages := strconv.Itoa(r.Pages)
			return []string{p.program, p.script, "main.ts", "--runtime", "stub", "-O3", "--shrinkLevel", "2", "--noAssert", "--use", "abort=", "--initialMemory", pages,
				"--maximumMemory", pages, "--disable", "bulk-memory", "--disable", "nontrapping-f2i", "--noColors", "-o", output}
		},
		findings: ascFindings,
	}
}

func tinyGo() language {
	const mend = "install TinyGo below /usr (https://tinygo.org/getting-started/install)"
	return language{
		name: "tinygo", title: "Go (TinyGo)", main: "main.go", mend: mend, sdk: nil,
		find:    need(mend, "tinygo"),
		version: func(p paths) []string { return []string{p.program, "version"} },
		command: func(p paths, r source.Request) []string {
			return append([]string{p.program, "build", "-target=wasm-unknown", "-opt=z", "-no-debug", "-panic=trap", "-scheduler=none", "-gc=leaking", "-o", output}, sources(r, ".go")...)
		},
		findings: colons,
	}
}

func wat() language {
	const mend = "install the WebAssembly binary toolkit (Debian: apt-get install wabt)"
	return language{
		name: "wat", title: "WebAssembly text", main: "main.wat", mend: mend,
		find:     need(mend, "wat2wasm"),
		version:  func(p paths) []string { return []string{p.program, "--version"} },
		command:  func(p paths, _ source.Request) []string { return []string{p.program, "main.wat", "-o", output} },
		findings: colons,
	}
}

// colon matches clang's, TinyGo's and wat2wasm's findings: file:line:column: severity: message.
var colon = regexp.MustCompile(`(?m)^(?:\./)?([A-Za-z0-9._-]+):(\d+):(\d+): (?:(fatal error|error|warning|note): )?(.*)$`)

// linker matches wasm-ld's: wasm-ld: error: main.o: undefined symbol: x.
var linker = regexp.MustCompile(`(?m)^(?:wasm-ld|lld|clang)[-0-9.]*: (error|warning): (.*)$`)

func colons(printed string) []source.Diagnostic {
	out := []source.Diagnostic{}
	for _, m := range colon.FindAllStringSubmatch(printed, maxFindings) {
		if m[5] == "" {
			continue
		}
		line, _ := strconv.Atoi(m[2])
		column, _ := strconv.Atoi(m[3])
		severity := m[4]
		if severity == "" || severity == "fatal error" {
			severity = source.Error
		}
		out = append(out, source.Diagnostic{File: m[1], Line: line, Column: column, Severity: severity, Message: m[5]})
	}
	return append(out, linkerFindings(printed)...)
}

func linkerFindings(printed string) []source.Diagnostic {
	var out []source.Diagnostic
	for _, m := range linker.FindAllStringSubmatch(printed, maxFindings) {
		if m[2] == "" || strings.HasPrefix(m[2], "linker command failed") { // says nothing that the linker did not
			continue
		}
		out = append(out, source.Diagnostic{Severity: m[1], Message: m[2]})
	}
	return out
}

// rustFindings reads rustc's messages, a JSON object a line.
func rustFindings(printed string) []source.Diagnostic {
	out := []source.Diagnostic{}
	for _, line := range strings.Split(printed, "\n") {
		var m struct {
			Message, Level string
			Spans          []struct {
				FileName    string `json:"file_name"`
				LineStart   int    `json:"line_start"`
				ColumnStart int    `json:"column_start"`
				IsPrimary   bool   `json:"is_primary"`
			}
		}
		if json.Unmarshal([]byte(line), &m) != nil || m.Message == "" || len(out) == maxFindings {
			continue
		}
		d := source.Diagnostic{Severity: m.Level, Message: m.Message}
		if d.Severity != source.Warning && d.Severity != source.Error {
			d.Severity = source.Note
		}
		for _, s := range m.Spans {
			if s.IsPrimary {
				d.File, d.Line, d.Column = s.FileName, s.LineStart, s.ColumnStart
			}
		}
		if strings.HasPrefix(d.Message, "aborting due to") {
			continue
		}
		out = append(out, d)
	}
	return out
}

// asc matches AssemblyScript's findings: the message, and some lines later where.
var asc = regexp.MustCompile(`(?m)^(ERROR|WARNING|INFO) (\S+?): (.*)\n(?:.*\n){0,6}?.*in ([A-Za-z0-9._/-]+)\((\d+),(\d+)\)`)

func ascFindings(printed string) []source.Diagnostic {
	out := []source.Diagnostic{}
	for _, m := range asc.FindAllStringSubmatch(printed, maxFindings) {
		if m[3] == "" {
			continue
		}
		line, _ := strconv.Atoi(m[5])
		column, _ := strconv.Atoi(m[6])
		severity := map[string]string{"ERROR": source.Error, "WARNING": source.Warning, "INFO": source.Note}[m[1]]
		out = append(out, source.Diagnostic{File: m[4], Line: line, Column: column, Severity: severity, Message: m[3]})
	}
	return out
}
