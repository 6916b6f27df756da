package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

func (c *cli) modulesCmd() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "modules [NAME]", Short: "List the modules that the platform keeps, show, fetch, add or remove one", Aliases: []string{"module"},
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: c.complete("modules"),
		Example: "  wasmbed modules\n  wasmbed modules add hello.wasm\n  wasmbed modules m-0123456789abcdef --out hello.wasm",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 1:
				return c.module(cmd.Context(), args[0], out)
			case out != "":
				return errs.New(errs.Invalid, "which module?").WithMend("wasmbed modules lists them")
			}
			items, err := all[v1alpha1.Module](cmd.Context(), c.rest, c.ns("modules"))
			if err != nil {
				return err
			}
			return c.show(items, func(w *tabwriter.Writer, wide bool) { moduleRows(w, wide, items) })
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write the bytes of one module to this file")
	add := &cobra.Command{
		Use: "add FILE.wasm", Short: "Keep a module under the name of its content", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := os.ReadFile(args[0])
			if err != nil {
				return errs.New(errs.Invalid, "%w", err)
			}
			if _, err := module.Inspect(b); err != nil {
				return err
			}
			var ans struct {
				Name       string `json:"name"`
				Created    bool   `json:"created"`
				Inspection any    `json:"inspection"`
			}
			if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns("modules"), nil, map[string]string{"bytes": base64.StdEncoding.EncodeToString(b)}, &ans); err != nil {
				return err
			}
			return c.show(ans, func(w *tabwriter.Writer, _ bool) {
				fmt.Fprintf(w, "module %s: %s\n", ans.Name, map[bool]string{true: "kept", false: "was there already"}[ans.Created])
			})
		},
	}
	del := &cobra.Command{
		Use: "delete NAME…", Short: "Remove modules", Args: cobra.MinimumNArgs(1), ValidArgsFunction: c.completeMany("modules"),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range args {
				if err := c.rest.do(cmd.Context(), http.MethodDelete, c.ns("modules", name), nil, nil, nil); err != nil {
					return err
				}
				if err := c.became("module", name, "deleted"); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.AddCommand(add, del)
	return cmd
}

func moduleRows(w *tabwriter.Writer, wide bool, items []v1alpha1.Module) {
	head := []any{"NAME", "SIZE", "DIGEST", "APPLICATION", "AGE"}
	if wide {
		head = append(head, "PAGES")
	}
	row(w, head...)
	for _, m := range items {
		digest := m.Status.Digest
		if digest == "" {
			digest = m.Spec.Digest
		}
		if !wide {
			digest = digest[:min(len(digest), 19)]
		}
		cells := []any{m.Name, m.Status.Size, digest, m.Labels[v1alpha1.LabelApplication], age(m.CreationTimestamp.Time)}
		if wide {
			cells = append(cells, m.Status.MemoryPages)
		}
		row(w, cells...)
	}
}

// module shows one module, or writes its bytes to a file.
func (c *cli) module(ctx context.Context, name, out string) error {
	q := url.Values{}
	if out != "" {
		q.Set("bytes", "true")
	}
	var m v1alpha1.Module
	if err := c.rest.do(ctx, http.MethodGet, c.ns("modules", name), q, nil, &m); err != nil {
		return err
	}
	if out == "" {
		return c.show(m, func(w *tabwriter.Writer, wide bool) { moduleRows(w, wide, []v1alpha1.Module{m}) })
	}
	if m.Spec.Digest != "" && module.Digest(m.Spec.Bytes) != m.Spec.Digest {
		return errs.New(errs.Internal, "the bytes that came are not those of %s", m.Spec.Digest)
	}
	if err := os.WriteFile(out, m.Spec.Bytes, 0o644); err != nil {
		return errs.New(errs.Invalid, "%w", err)
	}
	fmt.Fprintf(c.out, "%s: %d bytes\n", out, len(m.Spec.Bytes))
	return nil
}
