// Package source holds the words in which source code is asked to become a module: what the compile function
// takes and answers, wherever it runs.
package source

import "context"

// Request is source code that shall become a module.
type Request struct {
	Language string            `json:"language"` // c, rust, assemblyscript, tinygo, wat
	Files    map[string]string `json:"files"`    // name → text; the first one is main.c, main.rs, main.ts, main.go or main.wat
	// Stack and Pages are what the module is linked with: bytes of stack (default 4096), initial and largest memory in
	// pages of 64 KiB (default 1).
	Stack int `json:"stack,omitempty"`
	Pages int `json:"pages,omitempty"`
}

// Result is what became of it. Module is empty when it did not compile; then Diagnostics say why.
type Result struct {
	Module      []byte       `json:"module,omitempty"`
	Digest      string       `json:"digest,omitempty"` // sha256:… of Module
	Size        int          `json:"size,omitempty"`   // bytes
	Diagnostics []Diagnostic `json:"diagnostics"`
	Log         string       `json:"log,omitempty"` // what the compiler printed, as it printed it
	Compiler    string       `json:"compiler"`      // name and version
	Cached      bool         `json:"cached,omitempty"`
	Seconds     float64      `json:"seconds"`
}

// Severities of diagnostics.
const (
	Error   = "error"
	Warning = "warning"
	Note    = "note"
)

// Diagnostic is one finding of the compiler. Line and Column count from 1; 0 is nowhere in particular.
type Diagnostic struct {
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
	Severity string `json:"severity"`
	Message  string `json:"message"`
}

// Language is one that may be compiled here.
type Language struct {
	Name      string `json:"name"`
	Title     string `json:"title"`
	Main      string `json:"main"` // name of the first file
	Available bool   `json:"available"`
	Version   string `json:"version,omitempty"`
	Why       string `json:"why,omitempty"` // not available: what is missing, and how to get it
}

// Template is a module to start from.
type Template struct {
	Name        string            `json:"name"`
	Title       string            `json:"title"`
	Description string            `json:"description"`
	Language    string            `json:"language"`
	Files       map[string]string `json:"files"`
	Permissions []string          `json:"permissions"`      // that its manifest needs
	Timers      []Timer           `json:"timers,omitempty"` // that its manifest sets
	Config      map[string]string `json:"config,omitempty"`
	Functions   []string          `json:"functions,omitempty"` // that can be invoked
}

// Timer is a timer of a template's manifest; Period is a duration like 5s.
type Timer struct {
	ID     uint32 `json:"id"`
	Period string `json:"period"`
}

// Compiler makes modules. Errors: Invalid for a request that is none, Unsupported for a language that is not there,
// Exhausted when too many wait, Deadline when it takes too long. Source that does not compile is no error.
type Compiler interface {
	Compile(ctx context.Context, r Request) (Result, error)
	Languages(ctx context.Context) ([]Language, error)
	Templates(ctx context.Context) ([]Template, error)
}
