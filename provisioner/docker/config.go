package docker

import (
	"maps"
	"path/filepath"
	"strconv"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/go-units"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
	"wasmbed.io/wasmbed/provisioner/folder"
)

// Labels of containers beside those of the Spec.
const (
	labelState = "wasmbed.io/state" // the state folder that the container belongs to, as the engine's host names it
	labelLife  = "wasmbed.io/life"  // of one start
)

// inside is where a container finds its board's folder.
const inside = "/board"

// Socat is where images have it: it carries a connection of a board to the relay's socket (PlanOptions.Relay).
const Socat = "/usr/bin/socat"

// program is one that may be run, and where it lies in which image. Nothing else is ever run.
type program struct {
	image string
	path  string
	tmp   string // options of /tmp
}

// allowed are the programs by the names that Specs use.
func allowed(o Options) map[string]program {
	const safe = "rw,nosuid,nodev,mode=1777,"
	out := map[string]program{}
	if o.QEMU != "" {
		out["qemu-system-arm"] = program{o.QEMU, "/usr/bin/qemu-system-arm", safe + "noexec,size=" + strconv.Itoa(tmpQEMU)}
	}
	if o.Renode != "" { // it unpacks its translators into /tmp and loads them
		out["renode"] = program{o.Renode, "renode", safe + "exec,size=" + strconv.Itoa(tmpRenode)}
	}
	return out
}

// request is what the engine is asked to create.
type request struct {
	Name   string
	Config *container.Config
	Host   *container.HostConfig
}

// plan says which container a Spec is. It is pure. What a Spec can choose is one of the allowed programs, its arguments, its
// environment inside the container, and its limits; image, mounts, user and rights are ours. Errors: Invalid, Unsupported.
func plan(o Options, s provisioner.Spec, life string) (request, error) {
	if err := folder.Check(s.Key); err != nil {
		return request{}, err
	}
	p, ok := allowed(o)[s.Program]
	if !ok {
		return request{}, errs.New(errs.Unsupported, "%q is not run in containers", s.Program).WithMend("choose another backend, or spec.emulation.engine process")
	}
	names := []string{s.Console.Path, s.Link.Path, s.Control.Path, s.Relay.Path}
	largest := int64(0)
	for _, f := range s.Files {
		if f.Name == "" || f.Size < 0 {
			return request{}, errs.New(errs.Invalid, "file %q of %d bytes", f.Name, f.Size)
		}
		names, largest = append(names, f.Name), max(largest, f.Size, int64(len(f.Data)))
	}
	for _, n := range names {
		if n != "" && !folder.Plain(n) {
			return request{}, errs.New(errs.Invalid, "%q is no name in a board's folder", n)
		}
	}
	if s.Image != "" && !folder.Plain(s.Image) {
		return request{}, errs.New(errs.Invalid, "firmware image %q", s.Image)
	}
	if s.Console.Kind != provisioner.ChannelSocket || s.Link.Kind != "" && s.Link.Kind != provisioner.ChannelSocket {
		return request{}, errs.New(errs.Unsupported, "backend %s is not run in containers", s.Backend).WithMend("leave spec.emulation.engine out")
	}
	l := s.Limits
	if l.Memory < minMemory || l.CPU <= 0 || l.PIDs <= 0 {
		return request{}, errs.New(errs.Invalid, "limits of %d bytes, %d thousandths of a core, %d processes", l.Memory, l.CPU, l.PIDs).WithMend("a container needs %d MiB at least", minMemory>>20)
	}
	source := filepath.Join(o.HostDir, s.Key.Namespace, s.Key.Name, boardDir)
	filled := s.Fill(inside)
	yes := true
	r := request{
		Name: "wasmbed-" + o.scope() + "_" + s.Key.Namespace + "_" + s.Key.Name,
		Config: &container.Config{
			Image: p.image, Entrypoint: []string{p.path}, Cmd: filled.Args, WorkingDir: inside,
			Env:         append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp", "TMPDIR=/tmp", "LANG=C.UTF-8"}, filled.Env...),
			User:        o.User,
			Labels:      labels(o, s, life),
			OpenStdin:   s.HoldInput, // nobody attaches, so it never ends
			Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		},
		Host: &container.HostConfig{
			NetworkMode:    "none",
			CapDrop:        []string{"ALL"},
			SecurityOpt:    []string{"no-new-privileges"},
			ReadonlyRootfs: true,
			Init:           &yes,
			Tmpfs:          map[string]string{"/tmp": p.tmp},
			Mounts: []mount.Mount{{
				Type: mount.TypeBind, Source: source, Target: inside, BindOptions: &mount.BindOptions{Propagation: mount.PropagationRPrivate},
			}},
			RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled}, // the reconciler restarts
			// What a program says besides its console is the reason of its end; the engine keeps little of it.
			LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": maxOutput, "max-file": "1"}},
			Resources: container.Resources{
				Memory: l.Memory, MemorySwap: l.Memory, NanoCPUs: l.CPU * 1e6, PidsLimit: &l.PIDs,
				Ulimits: []*units.Ulimit{
					{Name: "core", Soft: 0, Hard: 0},
					{Name: "fsize", Soft: largest + maxFile, Hard: largest + maxFile}, // the folder is on the host's disk
					{Name: "nofile", Soft: maxHandles, Hard: maxHandles},
				},
			},
		},
	}
	return r, nil
}

// labels are the Spec's own, and ours, which win.
func labels(o Options, s provisioner.Spec, life string) map[string]string {
	out := map[string]string{}
	for _, k := range []string{provisioner.LabelBackend, provisioner.LabelBoard, provisioner.LabelTransport, provisioner.LabelProvisioner} {
		if v, ok := s.Labels[k]; ok {
			out[k] = v
		}
	}
	maps.Copy(out, map[string]string{
		provisioner.LabelNamespace: s.Key.Namespace, provisioner.LabelDevice: s.Key.Name, provisioner.LabelUID: s.UID,
		labelState: o.HostDir, labelLife: life,
	})
	return out
}

// key returns whose container one is by its labels.
func key(labels map[string]string) (provisioner.Key, bool) {
	k := provisioner.Key{Namespace: labels[provisioner.LabelNamespace], Name: labels[provisioner.LabelDevice]}
	return k, folder.Check(k) == nil
}
