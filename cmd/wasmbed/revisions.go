package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

func (c *cli) revisionsCmd() *cobra.Command {
	var diff bool
	cmd := &cobra.Command{
		Use: "revisions APP", Short: "List the revisions of an application, or what differs between two",
		Long: `List the revisions of an application, newest first: * is what it wants, ! is where a rollback goes.

With --diff A B the module and the manifest of two revisions are compared. A revision is given by its name or its
number; without B it is the one wanted, without A the one before it.`,
		Example: "  wasmbed revisions hello\n  wasmbed revisions hello --diff 1 3\n  wasmbed revisions hello --diff",
		Args:    cobra.RangeArgs(1, 3), ValidArgsFunction: c.completeRevisions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 && !diff {
				return errs.New(errs.Invalid, "one application at a time").WithMend("--diff A B compares revisions")
			}
			return c.revisions(cmd.Context(), args[0], args[1:], diff)
		},
	}
	cmd.Flags().BoolVar(&diff, "diff", false, "what differs between revisions A and B")
	return cmd
}

// revisionsOf returns an application's revisions, newest first.
func (c *cli) revisionsOf(ctx context.Context, app string) ([]v1alpha1.Revision, error) {
	revs, err := allOf[v1alpha1.Revision](ctx, c.rest, c.ns("revisions"), url.Values{"labelSelector": {v1alpha1.LabelApplication + "=" + app}})
	slices.SortFunc(revs, func(a, b v1alpha1.Revision) int { return cmp.Compare(b.Spec.Number, a.Spec.Number) })
	return revs, err
}

func (c *cli) revisions(ctx context.Context, name string, args []string, diff bool) error {
	var app appAnswer
	if err := c.rest.do(ctx, http.MethodGet, c.ns("applications", name), nil, nil, &app); err != nil {
		return err
	}
	revs, err := c.revisionsOf(ctx, name)
	if err != nil {
		return err
	}
	if diff {
		return c.compare(revs, app.Object.Status.Revision, args)
	}
	return c.show(revs, func(w *tabwriter.Writer, wide bool) {
		head := []any{" ", "NAME", "NUMBER", "SIZE", "DIGEST", "AGE"}
		if wide {
			head = append(head, "MODULE", "HASH")
		}
		row(w, head...)
		for _, r := range revs {
			mark := " "
			switch r.Name {
			case app.Object.Status.Revision:
				mark = "*"
			case app.Object.Status.StableRevision:
				mark = "!"
			}
			digest := r.Spec.Module.Digest
			if !wide {
				digest = digest[:min(len(digest), 19)]
			}
			cells := []any{mark, r.Name, r.Spec.Number, r.Spec.Module.Size, digest, age(r.CreationTimestamp.Time)}
			if wide {
				cells = append(cells, r.Spec.Module.Name+r.Spec.Module.OCI, r.Spec.Hash)
			}
			row(w, cells...)
		}
	})
}

// difference is a field that two revisions have not alike.
type difference struct {
	Field string `json:"field"`
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
}

func (c *cli) compare(revs []v1alpha1.Revision, current string, args []string) error {
	find := func(s string) (int, error) {
		for i, r := range revs {
			if r.Name == s || strconv.FormatInt(r.Spec.Number, 10) == s {
				return i, nil
			}
		}
		return 0, errs.New(errs.NotFound, "there is no revision %q", s).WithMend("wasmbed revisions APP lists them")
	}
	if len(revs) < 2 && len(args) < 2 {
		return errs.New(errs.NotFound, "there are not two revisions to compare")
	}
	to := max(0, slices.IndexFunc(revs, func(r v1alpha1.Revision) bool { return r.Name == current }))
	from := to + 1
	var err error
	if len(args) > 1 {
		if to, err = find(args[1]); err != nil {
			return err
		}
	}
	if len(args) > 0 {
		if from, err = find(args[0]); err != nil {
			return err
		}
	}
	if from >= len(revs) {
		return errs.New(errs.NotFound, "there is no revision before %s", revs[to].Name).WithMend("--diff A B names both")
	}
	ans := struct {
		From        string       `json:"from"`
		To          string       `json:"to"`
		Differences []difference `json:"differences"`
	}{revs[from].Name, revs[to].Name, differences(revs[from].Spec, revs[to].Spec)}
	return c.show(ans, func(w *tabwriter.Writer, wide bool) {
		if len(ans.Differences) == 0 {
			fmt.Fprintf(w, "%s and %s are alike\n", ans.From, ans.To)
			return
		}
		row(w, "FIELD", ans.From, ans.To)
		for _, d := range ans.Differences {
			row(w, d.Field, short(d.From, wide), short(d.To, wide))
		}
	})
}

// differences compares field by field. The number and the hash differ always and say nothing.
func differences(a, b v1alpha1.RevisionSpec) []difference {
	x, y := map[string]string{}, map[string]string{}
	for _, s := range []struct {
		spec *v1alpha1.RevisionSpec
		into map[string]string
	}{{&a, x}, {&b, y}} {
		s.spec.Number, s.spec.Hash = 0, ""
		if j, err := json.Marshal(s.spec); err == nil { // what came as JSON goes as JSON
			if flat, err := flatJSON(j); err == nil {
				maps.Copy(s.into, flat)
			}
		}
	}
	out := []difference{}
	fields := maps.Clone(x)
	maps.Copy(fields, y)
	for _, f := range slices.Sorted(maps.Keys(fields)) {
		if x[f] != y[f] {
			out = append(out, difference{f, x[f], y[f]})
		}
	}
	return out
}

// flatJSON reads JSON to one text for each value, by its way; numbers stay as they are written.
func flatJSON(b []byte) (map[string]string, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	out := map[string]string{}
	flatten("", v, out)
	return out, nil
}

// flatten names every value by its way: manifest.config.greeting, manifest.timers[0].period.
func flatten(way string, v any, into map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if way != "" {
				k = way + "." + k
			}
			flatten(k, x, into)
		}
	case []any:
		for i, x := range v {
			flatten(fmt.Sprintf("%s[%d]", way, i), x, into)
		}
	default:
		into[way] = fmt.Sprint(v)
	}
}

func (c *cli) completeRevisions(cmd *cobra.Command, args []string, part string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return c.complete("apps")(cmd, args, part)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeFor)
	defer cancel()
	if c.connect(ctx) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	revs, err := c.revisionsOf(ctx, args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, r := range revs {
		out = append(out, fmt.Sprintf("%s\tnumber %d", r.Name, r.Spec.Number))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
