// Package docker runs boards as containers, one for each, over the engine's socket of this machine. That socket is root: who
// can write to it can do everything. So this package alone uses it, and what it asks for is decided here and not by a Spec
// (see plan): programs of a list, in images of the configuration, without network, capabilities or a file system that can
// be written, with one mount, the board's folder, and limits of memory, processor and processes. A board's connections to
// its gateway come out of a socket in that folder, and are carried to the gateway and nowhere else.
//
//	DIR/lock                          held by the one engine of DIR
//	DIR/NAMESPACE/NAME/board.json     what was started; out of the container's reach
//	DIR/NAMESPACE/NAME/board/...      the Spec's files and the board's sockets: /board in the container
//
// What runs is asked of the engine: containers carry the state folder, the Device and the start that they are of as labels.
// A container whose folder is gone, or that is one too many, is listed as broken, so that it is removed.
package docker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/client"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
	"wasmbed.io/wasmbed/provisioner/folder"
)

// Name of this engine.
const Name = "docker"

// Options of an Engine.
type Options struct {
	// Host is the engine's socket, unix:///PATH. Empty: unix:///var/run/docker.sock. Others are refused: a board's folder is
	// this machine's.
	Host string
	// Dir has the boards' folders; made when it is not there.
	Dir string
	// HostDir is Dir as the engine names it, where the provisioner is itself in a container. Empty: the same.
	HostDir string
	Images  string // folder of firmware images
	// QEMU and Renode are the images that boards run in. Empty: there are no such boards.
	QEMU, Renode string
	// User is uid:gid of what runs in containers. Empty: this process' own, and nobody's (65534:65534) when that is root.
	User string
	// Dial reaches the gateway for boards. nil: TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	Log  *slog.Logger
}

// scope tells apart the containers of several state folders.
func (o Options) scope() string {
	sum := sha256.Sum256([]byte(o.HostDir))
	return hex.EncodeToString(sum[:4])
}

// DefaultHost is where an engine listens.
const DefaultHost = "unix:///var/run/docker.sock"

// complete fills in what is not said. Errors: Invalid.
func (o *Options) complete() error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Host == "" {
		o.Host = DefaultHost
	}
	if !strings.HasPrefix(o.Host, "unix:///") {
		return errs.New(errs.Invalid, "Docker at %q", o.Host).WithMend("give the socket of an engine on this machine, unix:///PATH")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return errs.New(errs.Invalid, "state folder: %w", err)
	}
	o.Dir = dir
	if o.HostDir == "" {
		o.HostDir = dir
	}
	if !filepath.IsAbs(o.HostDir) || filepath.Clean(o.HostDir) != o.HostDir {
		return errs.New(errs.Invalid, "state folder of the engine's host: %q", o.HostDir).WithMend("give an absolute path")
	}
	if o.User == "" {
		o.User = strconv.Itoa(os.Getuid()) + ":" + strconv.Itoa(os.Getgid())
		if os.Getuid() == 0 {
			o.User = "65534:65534"
		}
	}
	if _, _, err := o.ids(); err != nil {
		return err
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", address)
		}
	}
	return nil
}

// ids returns the user's numbers. Errors: Invalid.
func (o Options) ids() (uid, gid int, err error) {
	u, g, _ := strings.Cut(o.User, ":")
	uid, err1 := strconv.Atoi(u)
	gid, err2 := strconv.Atoi(g)
	if err1 != nil || err2 != nil || uid < 0 || gid < 0 {
		return 0, 0, errs.New(errs.Invalid, "user %q of containers", o.User).WithMend("give UID:GID")
	}
	return uid, gid, nil
}

// Engine implements provisioner.Engine.
type Engine struct {
	o    Options
	api  *client.Client
	lock *os.File

	mu      sync.Mutex
	boards  map[provisioner.Key]*board
	changes int // how often something was done
	listing sync.Mutex
	list    []provisioner.Instance
	listed  time.Time
	listOf  int // changes when it was made
}

var _ provisioner.Engine = (*Engine)(nil)

// New takes the folder and connects boards of an earlier life to their gateway again. Errors: Unavailable (no engine
// answers), Conflict (another provisioner has the folder), Invalid.
func New(ctx context.Context, o Options) (*Engine, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	api, err := client.NewClientWithOpts(client.WithHost(o.Host), client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, errs.New(errs.Invalid, "Docker at %s: %w", o.Host, err)
	}
	e := &Engine{o: o, api: api, boards: map[provisioner.Key]*board{}}
	if err := e.open(ctx); err != nil {
		_ = e.Close()
		return nil, err
	}
	return e, nil
}

func (e *Engine) open(ctx context.Context) error {
	pctx, cancel := context.WithTimeout(ctx, pingFor)
	defer cancel()
	if _, err := e.api.Ping(pctx); err != nil {
		err = failed(err, "no Docker engine at %s", e.o.Host)
		if errs.Is(err, errs.Deadline) {
			err = errs.New(errs.Unavailable, "%w", err)
		}
		return err
	}
	if err := os.MkdirAll(e.o.Dir, 0o700); err != nil {
		return errs.New(errs.Invalid, "state folder: %w", err)
	}
	lock, err := folder.Lock(filepath.Join(e.o.Dir, "lock"))
	if err != nil {
		return errs.New(errs.Conflict, "another provisioner has the folder %s: %w", e.o.Dir, err).WithMend("stop it, or give this one another WASMBED_PROVISIONER_DIR")
	}
	e.lock = lock
	all, err := e.List(ctx)
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.Running && i.Broken == "" && i.Spec.Relay.Path != "" {
			b := e.board(i.Key)
			if err := b.relayed(e, i.Spec); err != nil {
				e.o.Log.Error("a board of an earlier life cannot reach its gateway", "board", i.ID, "cause", err)
			}
		}
	}
	return nil
}

// Close lets go of the folder and of all boards, which go on; those behind a relay are without their gateway.
func (e *Engine) Close() error {
	e.mu.Lock()
	all := make([]*board, 0, len(e.boards))
	for _, b := range e.boards {
		all = append(all, b)
	}
	e.mu.Unlock()
	for _, b := range all {
		b.unrelay()
	}
	err := e.api.Close()
	if e.lock != nil {
		if lerr := e.lock.Close(); err == nil {
			err = lerr
		}
	}
	return err
}

// Name implements provisioner.Engine.
func (e *Engine) Name() string { return Name }

// Can reports whether the image of a backend is there. Errors: Unsupported, NotFound, Unavailable.
func (e *Engine) Can(ctx context.Context, backend string) error {
	name := map[string]string{provisioner.BackendQEMU: "qemu-system-arm", provisioner.BackendRenode: "renode"}[backend]
	p, ok := allowed(e.o)[name]
	if !ok {
		return errs.New(errs.Unsupported, "backend %q is not run in containers", backend)
	}
	return e.image(ctx, p.image)
}

// image reports whether an image is there. None is ever pulled.
func (e *Engine) image(ctx context.Context, name string) error {
	_, err := e.api.ImageInspect(ctx, name)
	if err = failed(err, "image %s", name); errs.Is(err, errs.NotFound) {
		return errs.New(errs.NotFound, "Docker has no image %s", name).WithMend("docker build makes it from deploy/docker, or deploy/docker/import-qemu from this machine's own QEMU")
	}
	return err
}

// board returns what is held for a Device's board in this life.
func (e *Engine) board(k provisioner.Key) *board {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.boards[k]
	if b == nil {
		b = &board{id: k.String(), key: k, dir: filepath.Join(e.o.Dir, k.Namespace, k.Name)}
		e.boards[k] = b
	}
	return b
}

// named returns the board of an id. Errors: NotFound.
func (e *Engine) named(id string) (*board, error) {
	ns, name, _ := strings.Cut(id, "/")
	k := provisioner.Key{Namespace: ns, Name: name}
	if folder.Check(k) != nil {
		return nil, errs.New(errs.NotFound, "no board %s", id)
	}
	return e.board(k), nil
}

// changed says that a list is not new any more.
func (e *Engine) changed() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.changes++
}

// List implements provisioner.Engine. Many ask at once, each for one board: one list is good for all of them.
func (e *Engine) List(ctx context.Context) ([]provisioner.Instance, error) {
	e.listing.Lock()
	defer e.listing.Unlock()
	e.mu.Lock()
	now := e.changes
	e.mu.Unlock()
	if e.list != nil && e.listOf == now && time.Since(e.listed) < listFor {
		return slices.Clone(e.list), nil
	}
	keys, err := e.keys(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]provisioner.Instance, 0, len(keys))
	for k, containers := range keys {
		b := e.board(k)
		busy := !b.op.TryLock()
		if !busy {
			b.op.Unlock()
		}
		i, ok, err := b.look(ctx, e, containers, busy)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b provisioner.Instance) int { return cmp.Compare(a.ID, b.ID) })
	e.list, e.listed, e.listOf = out, time.Now(), now
	return slices.Clone(out), nil
}
