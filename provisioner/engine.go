package provisioner

import (
	"context"
	"io"
	"time"
)

// Engine runs boards: as child processes (provisioner/process) or containers (provisioner/docker). A Device has at most
// one instance in an engine, whoever asks and however often; instances outlive the process that made them and are found
// again by List. All methods are safe for concurrent use. id is Instance.ID.
//
// Errors of all methods: NotFound (no such instance), Unavailable (the engine is away), Deadline, Internal, and those
// that are named.
type Engine interface {
	// Name is process or docker.
	Name() string
	// Start makes the instance of a Device, or starts the one that has ended, with the storage that it left unless the
	// Spec's Storage is another. It returns when the program has begun, not when the board has booted. Errors:
	// AlreadyExists (one is running), Unsupported (the engine cannot run this backend), NotFound (no image), Invalid.
	Start(ctx context.Context, s Spec) (Instance, error)
	// List returns all instances, those of an earlier life too, in the order of their keys. What it cannot read it
	// returns with Broken set: it is there, and must be removed.
	List(ctx context.Context) ([]Instance, error)
	// Stop ends the program and keeps the instance with its storage. kill cuts the power: nothing is flushed, saved or
	// asked. Without kill it is asked to end, and killed after a grace. Stopping what has ended is no error.
	Stop(ctx context.Context, id string, kill bool) error
	// Reset pulls the board's reset line; the instance's life goes on. Errors: Unsupported (it has none: cut its power and
	// start it again), Conflict (it is not running).
	Reset(ctx context.Context, id string) error
	// Remove ends the instance and forgets it and what it stored.
	Remove(ctx context.Context, id string) error
	// Console returns what the board says from now on, and what was kept meanwhile where something is kept. One reader
	// at a time. It ends with the program (io.EOF) or ctx.
	Console(ctx context.Context, id string) (io.ReadCloser, error)
	// Link opens the UART that carries TLS. Errors: Unsupported (the board has a network).
	Link(ctx context.Context, id string) (io.ReadWriteCloser, error)
	// Wait returns when the instance does not run any more, at once when it does not.
	Wait(ctx context.Context, id string) (Exit, error)
	// Usage tells what a running instance takes. Errors: Conflict (it is not running).
	Usage(ctx context.Context, id string) (Usage, error)
}

// Instance is a board in an engine.
type Instance struct {
	ID      string // the engine's name for it, the same over all lives of the Device's board
	Key     Key
	UID     string // of the Device object that it was made for
	Life    string // another one after each start: process and its start time, container and its
	Handle  string // process id, container id
	Running bool
	Broken  string // why it cannot be used; "": it can
	Started time.Time
	// Endpoint is where its monitor is reached, for who debugs it; relative to the board's folder.
	Endpoint string
	Spec     Spec // what it was started with; files without their data
	Exit     Exit // when it does not run
}

// Exit is how a program ended.
type Exit struct {
	Life   string    `json:"life"`
	Reason string    `json:"reason"` // Stopped, Killed, Exited, OutOfMemory, Lost (nobody saw it)
	Code   int       `json:"code"`   // exit status, or 128 and the signal; -1: unknown
	Output string    `json:"output"` // last lines that it said besides its console
	At     time.Time `json:"at"`
}

// Reasons of an Exit.
const (
	ExitStopped = "Stopped"
	ExitKilled  = "Killed"
	ExitExited  = "Exited"
	ExitMemory  = "OutOfMemory"
	ExitLost    = "Lost"
)

// Usage is what an instance takes of its host.
type Usage struct {
	Memory int64         // bytes; of processes their PSS
	CPU    time.Duration // since its start
	PIDs   int64
}
