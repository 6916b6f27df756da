package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"wasmbed.io/wasmbed/internal/errs"
)

//go:generate go test . -run TestDocIsCurrent -update

// docsCmd writes the reference of the command line; packagers and `go generate` use it.
func docsCmd() *cobra.Command {
	var out, man string
	cmd := &cobra.Command{
		Use: "docs", Short: "Write this reference: cli.md, and man pages", Hidden: true, Args: cobra.NoArgs, Annotations: offline(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" && man == "" {
				return errs.New(errs.Invalid, "where to?").WithMend("--out DIR for cli.md, --man DIR for man pages")
			}
			files := map[string]string{}
			if out != "" {
				files[filepath.Join(out, "cli.md")] = markdown(cmd.Root())
			}
			if man != "" {
				for name, text := range manPages(cmd.Root()) {
					files[filepath.Join(man, name)] = text
				}
			}
			for path, text := range files {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					return errs.New(errs.Invalid, "%w", err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					return errs.New(errs.Invalid, "%w", err)
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "folder for cli.md")
	cmd.Flags().StringVar(&man, "man", "", "folder for man pages, section 1")
	return cmd
}

// documented are the commands below cmd that have a place in the reference, by name.
func documented(cmd *cobra.Command) []*cobra.Command {
	var out []*cobra.Command
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" && c.Name() != "completion" {
			out = append(out, c)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name() < out[j].Name() })
	return out
}

// walk visits a command and those below it, parents first.
func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, sub := range documented(cmd) {
		walk(sub, visit)
	}
}

// way is the command as it is called.
func way(cmd *cobra.Command) string {
	if !cmd.HasParent() {
		return "wasmbed"
	}
	return way(cmd.Parent()) + " " + cmd.Name()
}

func useLine(cmd *cobra.Command) string {
	line := way(cmd)
	if _, args, ok := strings.Cut(cmd.Use, " "); ok && cmd.HasParent() {
		line += " " + args
	}
	if _, parent := cmd.Annotations[parentMark]; parent || !cmd.HasParent() {
		line += " COMMAND"
	}
	return line
}

func flagsOf(set *pflag.FlagSet) [][2]string {
	var out [][2]string
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" || f.Name == "version" {
			return
		}
		word, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if word != "" {
			name += " " + word
		}
		switch f.DefValue {
		case "", "false", "0", "0s", "[]", "-1":
		default:
			usage += fmt.Sprintf(" (default %s)", f.DefValue)
		}
		out = append(out, [2]string{name, usage})
	})
	return out
}

// markdown is docs/cli.md.
func markdown(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# The command line\n\n<!-- Made from the sources by go generate ./cmd/wasmbed. Do not edit. -->\n\n")
	fmt.Fprintf(&b, "`wasmbed` has everything that the REST API has. Under the name `kubectl-wasmbed` it is a plugin of kubectl: `kubectl wasmbed devices`.\n`wasmbed completion bash` (zsh, fish, powershell) writes what makes a shell complete commands, flags and names;\n`wasmbed docs --man DIR` writes man pages.\n\n```text\n%s\n```\n", root.Long)
	flagTable(&b, "Flags of every command", root.PersistentFlags())
	b.WriteString("\n## Commands\n")
	list := func(title string, of func(*cobra.Command) bool) {
		first := true
		for _, c := range documented(root) {
			if !of(c) {
				continue
			}
			if first {
				fmt.Fprintf(&b, "\n**%s**\n\n", title)
				first = false
			}
			fmt.Fprintf(&b, "- [%s](#%s): %s\n", c.Name(), strings.ReplaceAll(way(c), " ", "-"), c.Short)
		}
	}
	for _, g := range root.Groups() {
		list(strings.TrimSuffix(g.Title, ":"), func(c *cobra.Command) bool { return c.GroupID == g.ID })
	}
	list("More", func(c *cobra.Command) bool { return c.GroupID == "" })
	walk(root, func(cmd *cobra.Command) {
		if !cmd.HasParent() {
			return
		}
		level := min(2+strings.Count(way(cmd), " ")-1, 6)
		fmt.Fprintf(&b, "\n%s %s\n\n", strings.Repeat("#", level), way(cmd))
		if cmd.Long != "" {
			fmt.Fprintf(&b, "```text\n%s\n```\n\n", strings.TrimSpace(cmd.Long))
		} else {
			fmt.Fprintf(&b, "%s.\n\n", cmd.Short)
		}
		fmt.Fprintf(&b, "```sh\n%s\n```\n", useLine(cmd))
		if len(cmd.Aliases) > 0 {
			fmt.Fprintf(&b, "\nAlso: `%s`\n", strings.Join(cmd.Aliases, "`, `"))
		}
		if cmd.Example != "" {
			fmt.Fprintf(&b, "\n```sh\n%s\n```\n", unindent(cmd.Example))
		}
		flagTable(&b, "", cmd.NonInheritedFlags())
	})
	return b.String()
}

func flagTable(b *strings.Builder, title string, set *pflag.FlagSet) {
	rows := flagsOf(set)
	if len(rows) == 0 {
		return
	}
	if title != "" {
		fmt.Fprintf(b, "\n## %s\n", title)
	}
	b.WriteString("\n| flag | |\n|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(b, "| `%s` | %s |\n", r[0], strings.ReplaceAll(r[1], "|", `\|`))
	}
}

func unindent(s string) string {
	lines := strings.Split(strings.Trim(s, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}

// manPages are pages of section 1 in the language of man(7), by file name.
func manPages(root *cobra.Command) map[string]string {
	out := map[string]string{}
	walk(root, func(cmd *cobra.Command) {
		name := strings.ReplaceAll(way(cmd), " ", "-")
		var b strings.Builder
		fmt.Fprintf(&b, ".TH %s 1 \"\" \"wasmbed\" \"Wasmbed\"\n", strings.ToUpper(roff(name)))
		fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(name), roff(cmd.Short))
		fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n[flags]\n", roff(useLine(cmd)))
		text := cmd.Long
		if text == "" {
			text = cmd.Short + "."
		}
		fmt.Fprintf(&b, ".SH DESCRIPTION\n.nf\n%s\n.fi\n", roff(strings.TrimSpace(text)))
		if cmd.Example != "" {
			fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(unindent(cmd.Example)))
		}
		options := func(title string, set *pflag.FlagSet) {
			for i, f := range flagsOf(set) {
				if i == 0 {
					fmt.Fprintf(&b, ".SH %s\n", title)
				}
				fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(f[0]), roff(f[1]))
			}
		}
		options("OPTIONS", cmd.NonInheritedFlags())
		options("GLOBAL OPTIONS", cmd.InheritedFlags())
		var also []string
		if cmd.HasParent() {
			also = append(also, strings.ReplaceAll(way(cmd.Parent()), " ", "-"))
		}
		for _, sub := range documented(cmd) {
			also = append(also, strings.ReplaceAll(way(sub), " ", "-"))
		}
		for i, a := range also {
			if i == 0 {
				b.WriteString(".SH SEE ALSO\n")
			}
			comma := ","
			if i == len(also)-1 {
				comma = ""
			}
			fmt.Fprintf(&b, ".BR %s (1)%s\n", roff(a), comma)
		}
		out[name+".1"] = b.String()
	})
	return out
}

// roff keeps text from being taken for requests or escapes.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
