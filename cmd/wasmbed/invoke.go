package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// answer is what became of a command, as the API says it.
type answer struct {
	Command  string  `json:"command"`
	Status   string  `json:"status"`
	Reason   string  `json:"reason,omitempty"`
	Message  string  `json:"message,omitempty"`
	Payload  []byte  `json:"payload,omitempty"`
	Text     *string `json:"text,omitempty"`
	Duration float64 `json:"duration,omitempty"`
}

// told is how a command to one device or to many is given on the command line.
type told struct {
	selector string
	all      bool
	timeout  time.Duration
	file     string
}

func (t *told) flags(cmd *cobra.Command, payload bool) {
	f := cmd.Flags()
	f.StringVarP(&t.selector, "selector", "l", "", "to all devices with these labels, instead of one")
	f.BoolVar(&t.all, "all", false, "to all devices of the namespace, instead of one")
	f.DurationVar(&t.timeout, "timeout", 10*time.Second, "how long to wait for the answer")
	if payload {
		f.StringVarP(&t.file, "file", "f", "", "take the payload from a file, - for standard input")
	}
}

func (t *told) many() bool { return t.selector != "" || t.all }

// body is the request's, with the payload of an argument or of --file.
func (t *told) body(args []string) (map[string]any, error) {
	b := map[string]any{"timeout": t.timeout.String()}
	if t.selector != "" {
		b["selector"] = t.selector
	}
	if t.all {
		b["all"] = true
	}
	switch {
	case t.file != "" && len(args) > 0:
		return nil, errs.New(errs.Invalid, "give the payload as an argument or by --file, not both")
	case t.file == "-":
		p, err := io.ReadAll(io.LimitReader(os.Stdin, ledger.MaxCommandPayload+1))
		if err != nil {
			return nil, errs.New(errs.Invalid, "standard input: %w", err)
		}
		b["payload"] = p
	case t.file != "":
		p, err := os.ReadFile(t.file)
		if err != nil {
			return nil, errs.New(errs.Invalid, "%w", err)
		}
		b["payload"] = p
	case len(args) > 0:
		b["text"] = strings.Join(args, " ")
	}
	return b, nil
}

// device splits off the device's name, unless the command goes to many.
func (t *told) device(args []string) (name string, rest []string, err error) {
	if t.many() {
		return "", args, nil
	}
	if len(args) == 0 {
		return "", nil, errs.New(errs.Invalid, "which device? give its name, or -l or --all")
	}
	return args[0], args[1:], nil
}

func (c *cli) invokeCmd() *cobra.Command {
	cmd := c.toldCmd("invoke", "function")
	cmd.Use, cmd.Short = "invoke [DEVICE] APPLICATION FUNCTION [PAYLOAD]", "Call a function of a module on a device, or on many, and print its answer"
	cmd.Example = "  wasmbed invoke frdmk64f counter add 5\n  wasmbed invoke -l line=1 counter get"
	return cmd
}

func (c *cli) messageCmd() *cobra.Command {
	cmd := c.toldCmd("message", "topic")
	cmd.Use, cmd.Short = "message [DEVICE] APPLICATION TOPIC [PAYLOAD]", "Hand a message to a module on a device, or on many"
	return cmd
}

// toldCmd is a command to a module: route, application, and what the second word behind the device is.
func (c *cli) toldCmd(route, second string) *cobra.Command {
	var t told
	cmd := &cobra.Command{
		Args: cobra.MinimumNArgs(2), ValidArgsFunction: c.complete("devices"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, rest, err := t.device(args)
			if err != nil {
				return err
			}
			if len(rest) < 2 {
				return errs.New(errs.Invalid, "give application and %s", second)
			}
			body, err := t.body(rest[2:])
			if err != nil {
				return err
			}
			body["application"], body[second] = rest[0], rest[1]
			return c.tell(cmd, name, route, body)
		},
	}
	t.flags(cmd, true)
	return cmd
}

func (c *cli) rebootCmd() *cobra.Command {
	t := told{}
	cmd := &cobra.Command{
		Use: "reboot [DEVICE]", Short: "Restart a device, or many", Args: cobra.MaximumNArgs(1), ValidArgsFunction: c.complete("devices"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, rest, err := t.device(args)
			if err != nil {
				return err
			}
			body, err := t.body(rest)
			if err != nil {
				return err
			}
			return c.tell(cmd, name, "reboot", body)
		},
	}
	t.flags(cmd, false)
	return cmd
}

// tell sends a command to one device, or (name empty) to many.
func (c *cli) tell(cmd *cobra.Command, name, what string, body map[string]any) error {
	if p, ok := body["payload"].([]byte); ok {
		body["payload"] = base64.StdEncoding.EncodeToString(p)
	}
	if name == "" {
		return c.tellMany(cmd, what, body)
	}
	var a answer
	if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns("devices", name, what), nil, body, &a); err != nil {
		return err
	}
	if err := c.show(a, func(w *tabwriter.Writer, _ bool) {
		switch {
		case a.Status != "Done":
		case a.Text != nil:
			fmt.Fprintln(w, *a.Text)
		case len(a.Payload) > 0:
			fmt.Fprintln(w, base64.StdEncoding.EncodeToString(a.Payload))
		case what != "invoke":
			fmt.Fprintln(w, "done")
		}
	}); err != nil {
		return err
	}
	if a.Status != "Done" {
		return errs.New(errs.Conflict, "%s: %s (%s) %s", name, strings.ToLower(a.Status), a.Reason, a.Message)
	}
	return nil
}

// tellMany follows an operation until every device has its outcome.
func (c *cli) tellMany(cmd *cobra.Command, what string, body map[string]any) error {
	var made struct {
		Operation string `json:"operation"`
	}
	if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns(what), nil, body, &made); err != nil {
		return err
	}
	var o ledger.Operation
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last := ""
	for {
		err := c.rest.do(cmd.Context(), http.MethodGet, c.ns("operations", made.Operation), nil, nil, &o)
		if err != nil && !errs.Is(err, errs.NotFound) { // not found: nobody was asked yet
			return err
		}
		if said := progress(o); said != last && c.output != "json" && c.output != "yaml" {
			fmt.Fprintln(c.err, said)
			last = said
		}
		if o.Finished {
			break
		}
		select {
		case <-tick.C:
		case <-cmd.Context().Done():
			return errs.New(errs.Deadline, "interrupted; operation %s goes on", made.Operation)
		}
	}
	if err := c.show(o, func(w *tabwriter.Writer, _ bool) {
		row(w, "DEVICE", "STATUS")
		for _, d := range slices.Sorted(maps.Keys(o.Devices)) {
			row(w, d, o.Devices[d])
		}
	}); err != nil {
		return err
	}
	if n := o.Total - o.Counts["Done"]; n > 0 {
		return errs.New(errs.Conflict, "%d of %d devices did not do it", n, o.Total)
	}
	return nil
}

func progress(o ledger.Operation) string {
	parts := []string{fmt.Sprintf("%d devices", o.Total)}
	for _, k := range slices.Sorted(maps.Keys(o.Counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", o.Counts[k], strings.ToLower(k)))
	}
	return strings.Join(parts, ", ")
}
