package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/trace"
)

const (
	fallWidth = 32 // characters of the waterfall
	waitEvery = 300 * time.Millisecond
)

func (c *cli) traceCmd() *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "trace EVENT|TRACE|APPLICATION", Short: "Show the way of a change through the platform, with the time of each hop",
		Long: `Show the way of a change through the platform, with the time of each hop: from the request or the change of an object,
through broker and functions to the ledger, the gateway and the device, and back to the status.

What is given is the id of an event (wasmbed events -o wide shows them), the id of a trace (-v prints it with every
change), or the name of an application: then its last rollout is shown. Traces are kept for an hour. Of a rollout to many devices the first
are followed, the others are counted. Below the hops, the time that each component was at work: hops of one component that lie
side by side count once, and what a hop waits for others is in its own time.`,
		Example: `  wasmbed trace hello
  wasmbed trace 4bf92f3577b34da6a3ce929d0e0e4736 -o json
  wasmbed trace hello --wait 30s`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: c.complete("applications"),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := c.readTrace(cmd.Context(), args[0], wait)
			if err != nil {
				return err
			}
			return c.show(t, func(w *tabwriter.Writer, wide bool) { waterfall(w, &t, wide) })
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait so long for the trace to begin and to be complete")
	return cmd
}

// readTrace reads the trace of an event, by its id, or of an application. Names are told from ids by asking.
func (c *cli) readTrace(ctx context.Context, what string, wait time.Duration) (t trace.Trace, err error) {
	end := time.Now().Add(wait)
	for {
		t, err = c.oneTrace(ctx, what)
		if (err == nil && t.Complete) || (err != nil && !errs.Is(err, errs.NotFound)) || !time.Now().Before(end) {
			return t, err
		}
		select {
		case <-ctx.Done():
			return t, errs.New(errs.CodeOf(ctx.Err()), "%w", ctx.Err())
		case <-time.After(waitEvery):
		}
	}
}

func (c *cli) oneTrace(ctx context.Context, what string) (t trace.Trace, err error) {
	err = c.rest.do(ctx, http.MethodGet, "events/"+url.PathEscape(what)+"/trace", nil, nil, &t)
	if !errs.Is(err, errs.NotFound) || trace.IsID(what) {
		return t, err
	}
	app := c.rest.do(ctx, http.MethodGet, "namespaces/"+url.PathEscape(c.namespace)+"/applications/"+url.PathEscape(what)+"/trace", nil, nil, &t)
	if errs.Is(app, errs.NotFound) {
		return t, err
	}
	return t, app
}

// waterfall draws a trace.
func waterfall(w *tabwriter.Writer, t *trace.Trace, wide bool) {
	if len(t.Hops) == 0 {
		return
	}
	begin, end := extent(t.Hops)
	whole := max(end.Sub(begin), time.Microsecond)
	depth := depths(t.Hops)
	row(w, "START", "TIME", "WHEN", "COMPONENT", "HOP", "ABOUT", "STATUS")
	for i := range t.Hops {
		h := &t.Hops[i]
		status := h.Status
		if h.Message != "" {
			status += ": " + h.Message
		}
		about := h.Subject
		if wide {
			about = strings.TrimSpace(about + " " + attributes(h))
		}
		row(w, "+"+figure(h.Start.Sub(begin)), figure(h.End().Sub(h.Start)), bar(h.Start.Sub(begin), h.End().Sub(h.Start), whole), h.Component,
			strings.Repeat("  ", min(depth[h.ID], 12))+h.Name, about, status)
	}
	_ = w.Flush() // what follows is no part of the table
	fmt.Fprintln(w)
	for _, p := range byComponent(t.Hops) {
		row(w, p.name, figure(p.time), fmt.Sprintf("%d %%", 100*p.time/whole), fmt.Sprintf("%d hops", p.hops))
	}
	_ = w.Flush()
	fmt.Fprintf(w, "\ntrace %s: %d hops in %s", t.Trace, len(t.Hops), figure(whole))
	if t.Dropped > 0 {
		fmt.Fprintf(w, ", %d more were not kept", t.Dropped)
	}
	if t.Followed > trace.MaxFollowed {
		fmt.Fprintf(w, "; %d devices, of which the first %d are followed", t.Followed, trace.MaxFollowed)
	}
	if !t.Complete {
		fmt.Fprint(w, "; it goes on")
	}
	fmt.Fprintln(w)
}

func extent(hops []trace.Span) (begin, end time.Time) {
	begin, end = hops[0].Start, hops[0].End()
	for i := range hops {
		if hops[i].Start.Before(begin) {
			begin = hops[i].Start
		}
		if e := hops[i].End(); e.After(end) {
			end = e
		}
	}
	return begin, end
}

func depths(hops []trace.Span) map[string]int {
	parent := make(map[string]string, len(hops))
	for i := range hops {
		parent[hops[i].ID] = hops[i].Parent
	}
	out := make(map[string]int, len(hops))
	for id, p := range parent {
		for above, known := parent[p]; known && out[id] < len(hops); above, known = parent[p] {
			out[id]++
			p = above
		}
	}
	return out
}

// bar draws where a hop lies in the whole.
func bar(start, took, whole time.Duration) string {
	from := min(int(int64(start)*fallWidth/int64(whole)), fallWidth-1)
	n := max(1, int((int64(took)*fallWidth+int64(whole)-1)/int64(whole)))
	n = min(n, fallWidth-from)
	return strings.Repeat("·", from) + strings.Repeat("█", n) + strings.Repeat("·", fallWidth-from-n)
}

type part struct {
	name string
	time time.Duration
	hops int
}

// byComponent is the time that each component was at work, longest first.
func byComponent(hops []trace.Span) []part {
	of := map[string][]trace.Span{}
	for _, h := range hops {
		of[h.Component] = append(of[h.Component], h)
	}
	var out []part
	for name, hs := range of {
		slices.SortFunc(hs, func(a, b trace.Span) int { return a.Start.Compare(b.Start) })
		p := part{name: name, hops: len(hs)}
		var until time.Time
		for i := range hs {
			from, to := hs[i].Start, hs[i].End()
			if from.Before(until) {
				from = until
			}
			if to.After(from) {
				p.time += to.Sub(from)
				until = to
			}
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b part) int { return cmp.Or(cmp.Compare(b.time, a.time), strings.Compare(a.name, b.name)) })
	return out
}

// figure is a duration in three digits.
func figure(d time.Duration) string {
	switch {
	case d < 0:
		return "0"
	case d < time.Millisecond:
		return fmt.Sprintf("%dµs", d.Microseconds())
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	}
	return fmt.Sprintf("%.2fs", d.Seconds())
}

func attributes(h *trace.Span) string {
	keys := make([]string, 0, len(h.Attributes))
	for k := range h.Attributes {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for i, k := range keys {
		keys[i] = k + "=" + h.Attributes[k]
	}
	return strings.Join(keys, " ")
}

// sayTrace prints the trace of a request that changed something, for who asked with -v.
func sayTrace(w io.Writer, h http.Header) {
	if id := trace.ID(h.Get("Traceparent")); id != "" && w != nil {
		fmt.Fprintf(w, "trace %s\n", id)
	}
}
