// Package functions is the table of Wasmbed's functions - which events each takes and how it is made - and
// the HTTP host that serves them: the one place where a CloudEvent becomes a call and an error a status.
//
// A function has no transport inside. It answers an event with at most one event, and its error's kind
// decides whether the event comes again. Whether the host is a Knative Service or a part of the standalone
// process, it does not know.
package functions

import (
	"context"
	"log/slog"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/functions/board"
	"wasmbed.io/wasmbed/functions/command"
	"wasmbed.io/wasmbed/functions/deploy"
	"wasmbed.io/wasmbed/functions/enroll"
	"wasmbed.io/wasmbed/functions/report"
	"wasmbed.io/wasmbed/functions/rollback"
	"wasmbed.io/wasmbed/functions/webhook"
)

// Function handles events. The same event may come twice and events in any order: that changes nothing.
// Errors: Invalid and TooLarge for an event that can never be handled; everything else may come again.
type Function interface {
	Handle(ctx context.Context, e ce.Event) (reply *ce.Event, err error)
}

// Entry is one function of the table.
type Entry struct {
	Name     string
	Types    []string // of the events that it takes; others are ignored. "*": any
	Function Function
}

// Deps is what the functions work with.
type Deps struct {
	Client      *client.Set
	Ledger      *ledger.Ledger
	Instances   enroll.Instances // affinity
	Registry    deploy.Registry
	Sink        deploy.Poster
	TrustDomain string
	Private     bool          // webhooks may go to private addresses when they say so
	AdvanceGap  time.Duration // see deploy.Deps
	Now         func() time.Time
	Log         *slog.Logger
}

// Names are the functions' names: the names of their Services, and of their paths when one process serves
// them all.
func Names() []string {
	return []string{enroll.Name, deploy.Name, rollback.Name, report.Name, board.Name, command.Name, webhook.Name}
}

// Table makes all functions, by name.
func Table(d Deps) map[string]Entry {
	log := func(name string) *slog.Logger { return d.Log.With("function", name) }
	entries := []Entry{
		{enroll.Name, enroll.Types(), enroll.New(enroll.Deps{Client: d.Client, Ledger: d.Ledger, Instances: d.Instances, TrustDomain: d.TrustDomain, Now: d.Now, Log: log(enroll.Name)})},
		{deploy.Name, deploy.Types(), deploy.New(deploy.Deps{Client: d.Client, Ledger: d.Ledger, Registry: d.Registry, Sink: d.Sink, AdvanceGap: d.AdvanceGap, Now: d.Now, Log: log(deploy.Name)})},
		{rollback.Name, rollback.Types(), rollback.New(rollback.Deps{Client: d.Client, Ledger: d.Ledger, Now: d.Now, Log: log(rollback.Name)})},
		{report.Name, report.Types(), report.New(report.Deps{Client: d.Client, Ledger: d.Ledger, Now: d.Now, Log: log(report.Name)})},
		{command.Name, command.Types(), command.New(command.Deps{Ledger: d.Ledger, Sink: d.Sink, Now: d.Now, Log: log(command.Name)})},
		{webhook.Name, webhook.Types(), webhook.New(webhook.Deps{Client: d.Client, Ledger: d.Ledger, AllowPrivate: d.Private, Origin: d.TrustDomain, Now: d.Now, Log: log(webhook.Name)})},
		{board.Name, board.Types(), board.New(board.Deps{Client: d.Client, Now: d.Now, Log: log(board.Name)})},
	}
	out := map[string]Entry{}
	for _, e := range entries {
		out[e.Name] = e
	}
	return out
}
