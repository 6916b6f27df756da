package main

import (
	"github.com/spf13/cobra"

	"wasmbed.io/wasmbed/internal/errs"
)

// groups are the parts of the list of commands, in their order.
var groups = []struct {
	id, title string
	names     []string
}{
	{"look", "Look:", []string{"overview", "alerts", "status", "metrics", "parts", "devices", "apps", "revisions", "modules", "gateways", "boards", "explain", "timeline", "watch", "telemetry", "logs", "console"}},
	{"deploy", "Deploy:", []string{"deploy", "rollback", "pause", "resume", "compile", "dev", "templates", "languages", "inspect"}},
	{"devices", "Devices:", []string{"pairing", "enrollments", "approve", "reject", "revoke", "hold", "release", "label", "invoke", "message", "reboot", "commands", "trust", "provision", "bridge"}},
	{"events", "Events:", []string{"events", "trace", "queues", "deadletters", "webhook", "webhooks"}},
	{"self", "Who and where:", []string{"login", "logout", "whoami", "context", "token"}},
}

// group sorts the commands into groups; who is in none stands at the end.
func group(root *cobra.Command) {
	of := map[string]string{}
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, n := range g.names {
			of[n] = g.id
		}
	}
	for _, cmd := range root.Commands() {
		if cmd.GroupID == "" {
			cmd.GroupID = of[cmd.Name()]
		}
	}
}

const parentMark = "wasmbed.io/parent"

// strict makes wrong arguments an error of input, with the way it is right, and a misspelt subcommand an error at all.
func strict(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		strict(sub)
	}
	if !cmd.HasParent() {
		return
	}
	if !cmd.Runnable() && cmd.HasSubCommands() {
		cmd.Annotations = map[string]string{offlineMark: "", parentMark: ""}
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return errs.New(errs.Invalid, "unknown command %q for %q", args[0], cmd.CommandPath()).WithMend("%s --help", cmd.CommandPath())
		}
		return
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return errs.New(errs.Invalid, "%v", err).WithMend("%s", useLine(cmd))
			}
			return nil
		}
	}
}
