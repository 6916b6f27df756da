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
	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/functions/board"
	"wasmbed.io/wasmbed/functions/command"
	"wasmbed.io/wasmbed/functions/deadletter"
	"wasmbed.io/wasmbed/functions/deploy"
	"wasmbed.io/wasmbed/functions/enroll"
	"wasmbed.io/wasmbed/functions/journal"
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
	Private     bool                  // webhooks may go to private addresses when they say so
	Callback    string                // URL of the REST API as receivers of webhooks reach it; "": they cannot
	AdvanceGap  time.Duration         // see deploy.Deps
	Servers     enroll.Servers        // whose certificates enroll makes
	Redis       redis.UniversalClient // of journal and deadletter
	Places      deadletter.Places     // of functions that dead letters go back to
	Now         func() time.Time
	Log         *slog.Logger
}

// Names are the functions' names: the names of their Services, and of their paths when one process serves
// them all.
func Names() []string {
	return []string{enroll.Name, deploy.Name, rollback.Name, report.Name, board.Name, command.Name, webhook.Name}
}

// Sinks are functions beside those: what a cluster's broker does not keep itself, and the embedded one does. They have
// Services of their own there, and no place in a process that serves all functions.
func Sinks() []string { return []string{journal.Name, deadletter.Name} }

// Make makes one function; false: there is none of that name.
func Make(name string, d Deps) (Entry, bool) {
	d.Log = d.Log.With("function", name)
	switch name {
	case enroll.Name:
		return Entry{name, enroll.Types(), enroll.New(enroll.Deps{Client: d.Client, Ledger: d.Ledger, Instances: d.Instances, TrustDomain: d.TrustDomain, Servers: d.Servers, Now: d.Now, Log: d.Log})}, true
	case deploy.Name:
		return Entry{name, deploy.Types(), deploy.New(deploy.Deps{Client: d.Client, Ledger: d.Ledger, Registry: d.Registry, Sink: d.Sink, AdvanceGap: d.AdvanceGap, Now: d.Now, Log: d.Log})}, true
	case rollback.Name:
		return Entry{name, rollback.Types(), rollback.New(rollback.Deps{Client: d.Client, Ledger: d.Ledger, Now: d.Now, Log: d.Log})}, true
	case report.Name:
		return Entry{name, report.Types(), report.New(report.Deps{Client: d.Client, Ledger: d.Ledger, Now: d.Now, Log: d.Log})}, true
	case command.Name:
		return Entry{name, command.Types(), command.New(command.Deps{Ledger: d.Ledger, Sink: d.Sink, Now: d.Now, Log: d.Log})}, true
	case webhook.Name:
		return Entry{name, webhook.Types(), webhook.New(webhook.Deps{Client: d.Client, Ledger: d.Ledger, AllowPrivate: d.Private, Origin: d.TrustDomain, Callback: d.Callback, Now: d.Now, Log: d.Log})}, true
	case board.Name:
		return Entry{name, board.Types(), board.New(board.Deps{Client: d.Client, Now: d.Now, Log: d.Log})}, true
	case journal.Name:
		return Entry{name, journal.Types(), journal.New(journal.Deps{Redis: d.Redis, Log: d.Log})}, true
	case deadletter.Name:
		return Entry{name, deadletter.Types(), deadletter.New(deadletter.Deps{Redis: d.Redis, Places: d.Places, Now: d.Now, Log: d.Log})}, true
	}
	return Entry{}, false
}

// needsKubernetes reports whether a function works with Kubernetes: one that does not may run without any account.
func needsKubernetes(name string) bool {
	switch name {
	case command.Name, journal.Name, deadletter.Name:
		return false
	}
	return true
}

// needsSink reports whether a function says something on its own, beside its replies.
func needsSink(name string) bool {
	switch name {
	case deploy.Name, command.Name:
		return true
	}
	return false
}

// Table makes all functions of Names, by name.
func Table(d Deps) map[string]Entry {
	out := map[string]Entry{}
	for _, name := range Names() {
		out[name], _ = Make(name, d)
	}
	return out
}
