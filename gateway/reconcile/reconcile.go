// Package reconcile compares what one device shall hold with what it holds, and says what to tell it. It is a
// pure function: the same two states give the same commands with the same ids, so it may run as often as one
// likes, and a lost or repeated command costs nothing.
package reconcile

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/protocol"
)

// Deadline is how long a device may take for a command from its receipt, beside the manifest's health window. A
// transfer of the largest module over a slow link is minutes.
const Deadline = 10 * time.Minute

// class groups the verbs that carry out the same intent in different circumstances: whether an application has
// to be deployed, updated or rolled back to a revision depends on what is there, and may change while the
// intent does not.
type class string

const (
	install class = "install"
	start   class = "start"
	stop    class = "stop"
	remove  class = "remove"
)

// Plan returns what must be said to a device that holds apps (all of them) so that it comes to hold desired, in
// order: removals, which make room, then stops, then the rest, each by name. The commands' ID, Era and Desired
// are the session's to fill. An application whose desired is not usable is left alone and named in bad.
//
// What a device gave up (Failed or RolledBack) is not tried again with the same attempt. An application that is
// on its way to the desired revision is left alone. Nothing is removed while desired is not complete.
func Plan(desired ledger.Desired, apps map[string]protocol.AppState) (commands []protocol.Command, bad []string) {
	for name, has := range apps {
		if _, wanted := desired.Apps[name]; wanted || !desired.Complete || slices.Contains(desired.Keep, name) {
			continue
		}
		commands = append(commands, protocol.Command{
			Command: commandID(name, ledger.DesiredApp{Revision: has.Revision, Attempt: has.Attempt}, remove),
			Verb:    protocol.VerbRemove, App: name,
		})
	}
	for name, want := range desired.Apps {
		has, there := apps[name]
		verb, cl, whole := decide(name, want, has, there)
		if verb == 0 {
			continue
		}
		c, ok := command(name, want, verb, commandID(name, want, cl), whole)
		if !ok {
			bad = append(bad, name)
			continue
		}
		commands = append(commands, c)
	}
	slices.SortFunc(commands, func(a, b protocol.Command) int {
		if d := order(a.Verb) - order(b.Verb); d != 0 {
			return d
		}
		return strings.Compare(a.App, b.App)
	})
	slices.Sort(bad)
	return commands, bad
}

func order(v protocol.Verb) int {
	switch v {
	case protocol.VerbRemove:
		return 0
	case protocol.VerbStop:
		return 1
	}
	return 2
}

// decide compares one application (SPEC §10.5). Verb 0: there is nothing to say.
func decide(name string, want ledger.DesiredApp, has protocol.AppState, there bool) (v protocol.Verb, cl class, whole bool) {
	same := there && has.Revision == want.Revision
	gaveUp := same && (has.State == protocol.StateFailed || has.State == protocol.StateRolledBack) && has.Attempt >= want.Attempt
	if want.State == ledger.StateStopped {
		switch {
		case same && has.State == protocol.StateStopped, gaveUp && has.State == protocol.StateFailed:
			return 0, "", false // nothing executes
		case gaveUp:
			return protocol.VerbStop, stop, false // the former revision does, and the wanted one is not tried again
		}
		return protocol.VerbStop, stop, true // what is not there is fetched, and not started
	}
	switch {
	case !there:
		return protocol.VerbDeploy, install, true
	case gaveUp:
		return 0, "", false // only a larger attempt asks again
	case has.State == protocol.StateRolledBack && has.Running == want.Revision:
		return 0, "", false // went back by itself to what is wanted now
	case !same && older(name, want.Revision, has.Revision):
		return protocol.VerbRollback, install, true
	case !same:
		return protocol.VerbUpdate, install, true
	}
	switch has.State {
	case protocol.StateRunning:
		return 0, "", false
	case protocol.StateStopped, protocol.StateStopping:
		return protocol.VerbStart, start, true
	case protocol.StateFailed, protocol.StateRolledBack:
		return protocol.VerbUpdate, install, true
	}
	if has.Attempt >= want.Attempt {
		return 0, "", false // on its way
	}
	return protocol.VerbUpdate, install, true
}

// older reports whether revision a of the application came before b. Revisions are named <application>-<n>;
// for other names nobody knows, and an update does the same work.
func older(app, a, b string) bool {
	x, ok := number(app, a)
	y, ok2 := number(app, b)
	return ok && ok2 && x < y
}

func number(app, revision string) (uint64, bool) {
	rest, ok := strings.CutPrefix(revision, app+"-")
	if !ok {
		return 0, false
	}
	digits, _, _ := strings.Cut(rest, "-") // <application>-<number>-<hash>
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}

// command builds the frame. Not ok: the desired entry breaks a limit of the protocol, which whoever wrote it
// should have refused.
func command(name string, want ledger.DesiredApp, verb protocol.Verb, id []byte, whole bool) (protocol.Command, bool) {
	digest, err := hex.DecodeString(strings.TrimPrefix(want.Digest, "sha256:"))
	if err != nil || len(digest) != protocol.DigestSize || want.Size <= 0 || want.Size > protocol.MaxModule {
		return protocol.Command{}, false
	}
	c := protocol.Command{Command: id, Verb: verb, App: name, Revision: want.Revision, Attempt: want.Attempt, Deadline: millis(Deadline + want.Manifest.HealthWindow)}
	if whole {
		c.Digest, c.Size, c.Manifest = digest, uint32(want.Size), manifest(want.Manifest)
	}
	// Asked of the codec itself, so that no limit is written down twice. ID, Era and Desired cannot break it.
	probe := c
	probe.ID = 1
	_, err = protocol.Append(nil, &probe)
	return c, err == nil
}

func manifest(m ledger.Manifest) *protocol.Manifest {
	out := &protocol.Manifest{
		MemoryPages: m.MemoryPages, Stack: m.Stack, CallTimeout: millis(m.CallTimeout), Instructions: m.Instructions,
		Permissions: m.Permissions, Config: m.Config, HealthWindow: millis(m.HealthWindow), MaxTraps: m.MaxTraps,
		TrapPeriod: millis(m.TrapPeriod),
	}
	for _, t := range m.Timers {
		out.Timers = append(out.Timers, protocol.Timer{ID: t.ID, Period: millis(t.Period)})
	}
	return out
}

func millis(d time.Duration) uint32 {
	return uint32(min(max(0, d.Milliseconds()), 1<<32-1))
}

// commandID names an intent: equal intents have equal ids, in any session and any gateway. A device compares it
// with the last one of the app only (SPEC §11.5), so a stop that is wanted again after a start may have the
// former stop's.
func commandID(app string, want ledger.DesiredApp, cl class) []byte {
	h := sha256.New()
	put := func(s string) {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	put(app)
	put(want.Revision)
	put(want.Digest)
	put(strconv.FormatUint(want.Attempt, 10))
	put(want.State)
	if m, err := json.Marshal(want.Manifest); err == nil { // deterministic: see ledger.Manifest
		put(string(m))
	}
	put(string(cl))
	return h.Sum(nil)[:protocol.CommandSize]
}
