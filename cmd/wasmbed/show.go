package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"sigs.k8s.io/yaml"

	"wasmbed.io/wasmbed/internal/errs"
)

// show prints v as JSON or YAML, or calls table for the other outputs.
func (c *cli) show(v any, table func(w *tabwriter.Writer, wide bool)) error {
	switch c.output {
	case "json":
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return errs.New(errs.Internal, "%w", err)
		}
		fmt.Fprintln(c.out, string(b))
	case "yaml":
		b, err := yaml.Marshal(v)
		if err != nil {
			return errs.New(errs.Internal, "%w", err)
		}
		fmt.Fprint(c.out, string(b))
	default:
		w := tabwriter.NewWriter(c.out, 0, 4, 3, ' ', 0)
		table(w, c.output == "wide")
		return w.Flush()
	}
	return nil
}

// line prints one item of a stream: a line of JSON, a document of YAML, or what print writes.
func (c *cli) line(item json.RawMessage, print func()) error {
	switch c.output {
	case "json":
		fmt.Fprintln(c.out, string(item))
	case "yaml":
		b, err := yaml.JSONToYAML(item)
		if err != nil {
			return errs.New(errs.Internal, "%w", err)
		}
		fmt.Fprintf(c.out, "---\n%s", b)
	default:
		print()
	}
	return nil
}

// became says what became of something: a sentence, or one object a line for programs.
func (c *cli) became(kind, name, what string) error {
	b, err := json.Marshal(map[string]string{"kind": kind, "name": name, "is": what})
	if err != nil {
		return errs.New(errs.Internal, "%w", err)
	}
	return c.line(b, func() { fmt.Fprintf(c.out, "%s %s: %s\n", kind, strings.Map(printable, name), what) })
}

func row(w io.Writer, cells ...any) {
	for i, cell := range cells {
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		if s := fmt.Sprint(cell); s == "" {
			fmt.Fprint(w, "-")
		} else {
			fmt.Fprint(w, strings.Map(printable, s))
		}
	}
	fmt.Fprintln(w)
}

// printable keeps what devices say from steering the terminal.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
		return '?'
	}
	return r
}

func age(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	d := time.Since(t)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "--:--:--.---"
	}
	return t.Local().Format("15:04:05.000")
}
