// Package run is what every command shares: signals, logging, environment, exit codes.
package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/kelseyhightower/envconfig"

	"wasmbed.io/wasmbed/internal/errs"
)

// Version is set by the linker.
var Version = "dev"

// Prefix of every environment variable that is Wasmbed's own.
const Prefix = "WASMBED"

// Main runs a command: it reads the environment into cfg (a pointer to an envconfig struct, whose field
// comments are repeated in `desc` tags), answers --help with the manual, and calls fn with a context that
// ends at SIGINT or SIGTERM. It returns the exit code: 0, or the code of fn's error.
func Main[C any](name, about string, args []string, out io.Writer, cfg *C, fn func(context.Context, *C, *slog.Logger) error) int {
	for _, a := range args {
		switch a {
		case "-h", "--help", "help":
			Usage(out, name, about, cfg)
			return 0
		default:
			fmt.Fprintf(os.Stderr, "%s: unknown argument %q (settings come from the environment: %s --help)\n", name, a, name)
			return 2
		}
	}
	if err := envconfig.Process(Prefix, cfg); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v (%s --help lists the settings)\n", name, err, name)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := Logger(os.Stderr, name)
	err := fn(ctx, cfg, log)
	if err == nil || (ctx.Err() != nil && errors.Is(err, context.Canceled)) {
		return 0
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	return max(1, errs.ExitCode(err))
}

// Logger returns the structured logger of a command: text on w, level from WASMBED_LOG (debug, info, warn,
// error; default info).
func Logger(w io.Writer, name string) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(os.Getenv(Prefix + "_LOG"))); err != nil {
		level = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})).With("part", name)
}

// Usage prints the manual of a command from the `desc`, `default` and `required` tags of its struct.
func Usage(w io.Writer, name, about string, cfg any) {
	fmt.Fprintf(w, "%s: %s\n\nSettings, from the environment:\n\n", name, about)
	const format = `{{range .}}  {{usage_key .}}{{if usage_default .}} (default {{usage_default .}}){{end}}{{if usage_required .}} (required){{end}}
      {{usage_description .}}
{{end}}`
	if err := envconfig.Usagef(Prefix, cfg, w, format); err != nil {
		fmt.Fprintln(w, err)
	}
}
