package docker

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/pkg/stdcopy"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

const (
	boardDir   = "board"
	recordFile = "board.json"
)

// record is what is known of a board beside its container.
type record struct {
	Spec provisioner.Spec `json:"spec"` // files without their data
	Life string           `json:"life"` // label of the container that was started last
	// Ending is the reason of the end that was asked for, of the run Ended.
	Ending string `json:"ending,omitempty"`
	Ended  string `json:"ended,omitempty"`
}

// board is what this life holds for one. op is held by what starts, stops or removes it.
type board struct {
	id  string
	key provisioner.Key
	dir string
	op  sync.Mutex

	mu      sync.Mutex
	relay   *relay
	console io.Closer // the one reader
}

// folder is what the container sees.
func (b *board) folder() string { return filepath.Join(b.dir, boardDir) }

// keys returns whose boards there are: those that have containers, with them, and those that have a folder.
func (e *Engine) keys(ctx context.Context) (map[provisioner.Key][]string, error) {
	all, err := e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", labelState+"="+e.o.HostDir))})
	if err != nil {
		return nil, failed(err, "list containers")
	}
	out := map[provisioner.Key][]string{}
	for _, c := range all {
		k, ok := key(c.Labels)
		if !ok {
			e.o.Log.Warn("a container has this folder's label and names no Device", "container", c.ID)
			continue
		}
		out[k] = append(out[k], c.ID)
	}
	names, err := filepath.Glob(filepath.Join(e.o.Dir, "*", "*"))
	if err != nil {
		return nil, errs.New(errs.Internal, "state folder: %w", err)
	}
	for _, dir := range names {
		k := provisioner.Key{Namespace: filepath.Base(filepath.Dir(dir)), Name: filepath.Base(dir)}
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			if _, ok := out[k]; !ok {
				out[k] = nil
			}
		}
	}
	return out, nil
}

// containers returns the ids of a board's containers.
func (b *board) containers(ctx context.Context, e *Engine) ([]string, error) {
	all, err := e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", labelState+"="+e.o.HostDir), filters.Arg("label", provisioner.LabelNamespace+"="+b.key.Namespace), filters.Arg("label", provisioner.LabelDevice+"="+b.key.Name))})
	if err != nil {
		return nil, failed(err, "list containers of board %s", b.id)
	}
	var out []string
	for _, c := range all {
		out = append(out, c.ID)
	}
	return out, nil
}

// look returns the instance that containers and record make; false: there is nothing. busy: it is being made or removed, so
// what is missing is no fault.
func (b *board) look(ctx context.Context, e *Engine, containers []string, busy bool) (provisioner.Instance, bool, error) {
	i := provisioner.Instance{ID: b.id, Key: b.key}
	rec, err := readRecord(filepath.Join(b.dir, recordFile))
	known := err == nil
	if !known {
		if _, err := os.Stat(b.dir); len(containers) == 0 && (busy || errors.Is(err, os.ErrNotExist)) {
			return i, false, nil
		}
		i.Broken = "nothing is known of it: " + err.Error()
	}
	i.UID, i.Spec = rec.Spec.UID, rec.Spec
	if path := rec.Spec.Control.Path; path != "" {
		i.Endpoint = "unix:" + path
	}
	found := 0
	for _, id := range containers {
		c, err := e.api.ContainerInspect(ctx, id)
		if err = failed(err, "container %.12s of board %s", id, b.id); errs.Is(err, errs.NotFound) {
			continue // gone meanwhile
		} else if err != nil {
			return i, false, err
		}
		if c.State == nil || c.Config == nil {
			return i, false, errs.New(errs.Internal, "container %.12s of board %s has no state", id, b.id)
		}
		found++
		if known && c.Config.Labels[labelLife] != rec.Life {
			i.Broken = "container " + id[:shortID] + " is of another start"
		}
		if i.Handle != "" && i.Running && !c.State.Running {
			continue
		}
		i.Handle, i.Life, i.Running, i.Started = id[:shortID], life(c), c.State.Running, at(c.State.StartedAt)
		if i.UID == "" {
			i.UID = c.Config.Labels[provisioner.LabelUID]
		}
		i.Exit = provisioner.Exit{}
		if !i.Running {
			i.Exit = b.exit(ctx, e, rec, c)
		}
	}
	switch {
	case found == 0 && !known && len(containers) > 0:
		_, err := os.Stat(b.dir) // only its container was left, and is gone
		return i, err == nil, nil
	case found == 0: // somebody removed its container: what it stored is there
		i.Life = rec.Life
		i.Exit = provisioner.Exit{Life: rec.Life, Reason: provisioner.ExitLost, Code: -1, At: time.Now()}
	case found > 1:
		i.Broken = strconv.Itoa(found) + " containers"
	}
	return i, true, nil
}

// now returns what there is of a board. Errors: NotFound.
func (b *board) now(ctx context.Context, e *Engine) (provisioner.Instance, error) {
	ids, err := b.containers(ctx, e)
	if err != nil {
		return provisioner.Instance{}, err
	}
	i, ok, err := b.look(ctx, e, ids, false)
	if err == nil && !ok {
		err = errs.New(errs.NotFound, "no board %s", b.id)
	}
	return i, err
}

// life names one run of a container, which somebody may have started again.
func life(c container.InspectResponse) string {
	n := int64(0)
	if t := at(c.State.StartedAt); !t.IsZero() {
		n = t.UnixNano()
	}
	return c.ID[:shortID] + "." + strconv.FormatInt(n, 36)
}

// at parses the engine's times; a year 1 is none.
func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 2000 {
		return time.Time{}
	}
	return t
}

// exit is how a container's program ended.
func (b *board) exit(ctx context.Context, e *Engine, rec record, c container.InspectResponse) provisioner.Exit {
	x := provisioner.Exit{Life: life(c), Reason: provisioner.ExitExited, Code: c.State.ExitCode, Output: c.State.Error, At: at(c.State.FinishedAt)}
	if rec.Ending != "" && rec.Ended == x.Life {
		x.Reason = rec.Ending
	}
	switch {
	case c.State.OOMKilled:
		x.Reason = provisioner.ExitMemory
	case at(c.State.StartedAt).IsZero() && x.Output == "":
		x.Reason, x.Code = provisioner.ExitLost, -1 // made, and never started
	}
	if x.Output == "" {
		x.Output = b.tail(ctx, e, c.ID)
	}
	return x
}

// tail returns the last of what the program said besides its console.
func (b *board) tail(ctx context.Context, e *Engine, id string) string {
	logs, err := e.api.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: "20"})
	if err != nil {
		return ""
	}
	defer logs.Close()
	var all strings.Builder
	_, _ = stdcopy.StdCopy(&all, &all, io.LimitReader(logs, 64<<10)) // what could be read is shown
	var out strings.Builder
	for line := range strings.Lines(all.String()) {
		if !strings.Contains(line, "info: QEMU waiting for connection") && !strings.Contains(line, "has no peer") { // as it should be
			out.WriteString(line)
		}
	}
	s := strings.ToValidUTF8(strings.TrimSpace(out.String()), "?")
	return strings.ToValidUTF8(s[max(0, len(s)-tailOutput):], "")
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
	if r.Life == "" {
		return record{}, errs.New(errs.Invalid, "%s names no start", path)
	}
	return r, nil
}

// writeRecord replaces the record at once or not at all.
func (b *board) writeRecord(r record) error {
	r.Spec.Files = slices.Clone(r.Spec.Files)
	for i := range r.Spec.Files {
		r.Spec.Files[i].Data = nil
	}
	r.Spec.Env = nil
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return errs.New(errs.Internal, "board %s: %w", b.id, err)
	}
	f, err := os.CreateTemp(b.dir, recordFile+".*")
	if err != nil {
		return errs.New(errs.Internal, "board %s: %w", b.id, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(b.dir, recordFile))
	}
	if err != nil {
		return errs.New(errs.Internal, "board %s: %w", b.id, err)
	}
	return nil
}

// reading notes who reads the console, nil for nobody; the one that read it before is closed.
func (b *board) reading(c io.Closer) {
	b.mu.Lock()
	last := b.console
	b.console = c
	b.mu.Unlock()
	if last != nil {
		last.Close()
	}
}

// ended returns a channel that closes when the container does not run any more, until ctx ends.
func (e *Engine) ended(ctx context.Context, id string) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		status, failed := e.api.ContainerWait(ctx, id, container.WaitConditionNotRunning)
		select {
		case <-status:
			close(done)
		case <-failed:
			if ctx.Err() == nil {
				close(done)
			}
		}
	}()
	return done
}
