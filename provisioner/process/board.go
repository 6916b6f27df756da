package process

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
	"wasmbed.io/wasmbed/provisioner/folder"
)

// record is what a board's folder says of it.
type record struct {
	Spec    provisioner.Spec  `json:"spec"` // files without their data
	Token   string            `json:"token"`
	PID     int               `json:"pid,omitempty"` // 0: it was about to be started
	Start   uint64            `json:"start,omitempty"`
	Boot    string            `json:"boot"`
	Started time.Time         `json:"started"`
	Exit    *provisioner.Exit `json:"exit,omitempty"` // it has ended
}

const recordFile = "board.json"

// life names one run of a board's program.
func (r record) life() string {
	return strconv.Itoa(r.PID) + "." + strconv.FormatUint(r.Start, 10) + "." + r.Boot[:min(8, len(r.Boot))]
}

// board is one instance. op is held by what starts, stops or removes it; mu guards the rest and is held for moments.
type board struct {
	id  string
	key provisioner.Key
	dir string
	op  sync.Mutex

	mu      sync.Mutex
	rec     record
	done    chan struct{} // closed when the run that rec tells of has ended; nil: none
	ending  string        // reason of the end that was asked for
	broken  string
	gone    bool
	console io.Closer // the one reader
}

// now returns the record, what closes when its run ends, and whether it runs.
func (b *board) now() (record, <-chan struct{}, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rec, b.done, b.done != nil && b.rec.Exit == nil
}

func (b *board) instance() (provisioner.Instance, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone || (b.rec.Token == "" && b.broken == "") {
		return provisioner.Instance{}, false
	}
	i := provisioner.Instance{
		ID: b.id, Key: b.key, UID: b.rec.Spec.UID, Life: b.rec.life(), Handle: strconv.Itoa(b.rec.PID),
		Running: b.done != nil && b.rec.Exit == nil, Broken: b.broken, Started: b.rec.Started, Spec: b.rec.Spec,
	}
	if path := b.rec.Spec.Control.Path; path != "" {
		i.Endpoint = "unix:" + path
	}
	if b.rec.Exit != nil {
		i.Exit = *b.rec.Exit
	}
	return i, true
}

// adopt takes over what an earlier life of the provisioner left in the folder.
func (b *board) adopt(e *Engine) {
	rec, err := readRecord(filepath.Join(b.dir, recordFile))
	if err != nil {
		b.broken = err.Error()
		e.o.Log.Warn("a board's record cannot be read", "board", b.id, "cause", err)
		b.orphan(e)
		return
	}
	b.rec = rec
	if rec.PID == 0 && rec.Exit == nil && rec.Boot == e.proc.boot { // killed between start and note
		if pid := e.proc.leader(rec.Token); pid != 0 {
			if s, ok := e.proc.stat(pid); ok {
				b.rec.PID, b.rec.Start = pid, s.start
				b.save(e)
			}
		}
	}
	if b.rec.Exit != nil {
		return
	}
	if !e.proc.alive(b.rec.PID, b.rec.Start, b.rec.Boot) {
		b.rec.Exit = &provisioner.Exit{Life: b.rec.life(), Reason: provisioner.ExitLost, Code: -1, Output: b.tail(), At: time.Now()}
		b.save(e)
		return
	}
	b.done = make(chan struct{})
	e.work.Go(func() { b.watch(e, b.rec, b.done) })
}

// orphan ends whatever holds the lock of a folder that nothing is known of.
func (b *board) orphan(e *Engine) {
	lock, err := folder.Lock(filepath.Join(b.dir, "lock"))
	if err == nil {
		lock.Close()
		return
	}
	// Who holds it has the folder as its working directory.
	for _, pid := range e.proc.pids() {
		cwd, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd")
		if err != nil || cwd != b.dir || pid == os.Getpid() {
			continue
		}
		if s, ok := e.proc.stat(pid); ok && s.group > 1 {
			if env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ"); err == nil && strings.Contains(string(env), tokenName+"=") {
				e.o.Log.Warn("a board's processes are ended: nothing is known of them", "board", b.id, "group", s.group)
				_ = sendGroup(s.group, unix.SIGKILL) // reported by the lock, which the next start needs
			}
		}
	}
}

// watch follows a process that is not our child until it ends.
func (b *board) watch(e *Engine, rec record, done chan struct{}) {
	tick := time.NewTicker(adoptedPoll)
	defer tick.Stop()
	for e.proc.alive(rec.PID, rec.Start, rec.Boot) {
		select {
		case <-e.ctx.Done():
			return
		case <-tick.C:
		}
	}
	b.ended(e, done, -1)
}

// ended notes that the run of done is over.
func (b *board) ended(e *Engine, done chan struct{}, code int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.done != done || b.rec.Exit != nil {
		return
	}
	reason := b.ending
	if reason == "" {
		reason = provisioner.ExitExited
		if code < 0 {
			reason = provisioner.ExitLost
		}
	}
	b.rec.Exit = &provisioner.Exit{Life: b.rec.life(), Reason: reason, Code: code, Output: b.tail(), At: time.Now()}
	b.saveLocked(e)
	close(done)
}

// tail returns the last of what the program said.
func (b *board) tail() string {
	f, err := os.Open(filepath.Join(b.dir, outputFile))
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > tailOutput {
		_, _ = f.Seek(-tailOutput, io.SeekEnd) // else the first of it is shown
	}
	text, _ := io.ReadAll(io.LimitReader(f, tailOutput))
	var out strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, "info: QEMU waiting for connection") && !strings.Contains(line, "has no peer") { // as it should be
			out.WriteString(line)
		}
	}
	return strings.ToValidUTF8(strings.TrimSpace(out.String()), "?")
}

// end ends the board's program and waits until it is gone. b.op is held.
func (b *board) end(ctx context.Context, e *Engine, kill bool) error {
	rec, done, running := b.now()
	if !running {
		return nil
	}
	b.mu.Lock()
	if kill && b.ending == "" {
		b.ending = provisioner.ExitKilled
	} else if b.ending == "" {
		b.ending = provisioner.ExitStopped
	}
	b.mu.Unlock()
	if !kill {
		if err := sendGroup(rec.PID, unix.SIGTERM); err != nil {
			return err
		}
		t := time.NewTimer(stopGrace)
		defer t.Stop()
		select {
		case <-done:
		case <-t.C:
		case <-ctx.Done():
		}
	}
	// The whole group, also when its leader has ended: what a launcher started must not stay.
	if err := sendGroup(rec.PID, unix.SIGKILL); err != nil {
		return err
	}
	t := time.NewTimer(killWait)
	defer t.Stop()
	select {
	case <-done:
		return nil
	case <-t.C:
		return errs.New(errs.Deadline, "board %s: process %d does not end", b.id, rec.PID)
	}
}

// tidy enforces the memory limit and empties a log that has grown.
func (b *board) tidy(e *Engine) {
	rec, _, running := b.now()
	if !running {
		return
	}
	path := filepath.Join(b.dir, outputFile)
	if info, err := os.Stat(path); err == nil && info.Size() > maxOutput {
		if err := os.Truncate(path, 0); err != nil { // it is written in append mode: the next line is at the start
			e.o.Log.Warn("a board's log cannot be emptied", "board", b.id, "cause", err)
		}
	}
	u, err := e.proc.usage(rec.PID)
	if err != nil || rec.Spec.Limits.Memory <= 0 || u.Memory <= rec.Spec.Limits.Memory {
		return
	}
	e.o.Log.Warn("a board takes too much memory and is ended", "board", b.id, "bytes", u.Memory, "limit", rec.Spec.Limits.Memory)
	b.mu.Lock()
	if b.ending == "" && b.rec.life() == rec.life() {
		b.ending = provisioner.ExitMemory
	}
	b.mu.Unlock()
	if err := sendGroup(rec.PID, unix.SIGKILL); err != nil {
		e.o.Log.Warn("a board cannot be ended", "board", b.id, "cause", err)
	}
}

func (b *board) save(e *Engine) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.saveLocked(e)
}

// saveLocked writes the record. A folder that is gone is one that was removed.
func (b *board) saveLocked(e *Engine) {
	if b.gone {
		return
	}
	if err := writeRecord(filepath.Join(b.dir, recordFile), b.rec); err != nil {
		e.o.Log.Error("a board's record cannot be written", "board", b.id, "cause", err)
	}
}

func readRecord(path string) (record, error) {
	f, err := os.Open(path)
	if err != nil {
		return record{}, err
	}
	defer f.Close()
	var r record
	if err := json.NewDecoder(io.LimitReader(f, maxRecord)).Decode(&r); err != nil {
		return record{}, err
	}
	if r.Token == "" {
		return record{}, errs.New(errs.Invalid, "%s names no process", path)
	}
	return r, nil
}

// writeRecord replaces the record at once or not at all.
func writeRecord(path string, r record) error {
	r.Spec.Files = append([]provisioner.File(nil), r.Spec.Files...)
	for i := range r.Spec.Files {
		r.Spec.Files[i].Data = nil
	}
	r.Spec.Env = nil // it holds the claim
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), recordFile+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
