package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
	"wasmbed.io/wasmbed/provisioner/docker"
	"wasmbed.io/wasmbed/provisioner/process"
)

// Values of ENGINE.
const (
	engineAuto    = "auto"
	engineProcess = "process"
	engineDocker  = "docker"
)

// engines are what carries boards, by name, the one for Devices that do not say, and how they are let go.
type engines struct {
	all   map[string]provisioner.Engine
	first string
	close func()
}

// openEngines opens the engines that there are. Host devices are always processes, so that engine is always there.
func openEngines(ctx context.Context, cfg *Config, log *slog.Logger) (engines, error) {
	p := cfg.Provisioner
	local, err := process.New(process.Options{
		Dir: filepath.Join(p.Dir, "boards"), Images: p.Firmware, Log: log,
		Programs: map[string]string{"qemu-system-arm": p.Qemu, "renode": p.Renode, "device": p.Device},
	})
	if err != nil {
		return engines{}, err
	}
	e := engines{all: map[string]provisioner.Engine{engineProcess: local}, first: engineProcess, close: func() { local.Close() }}
	switch p.Engine {
	case engineProcess:
		if left, err := os.ReadDir(filepath.Join(p.Dir, containers)); err == nil && len(left) > 1 { // its lock is always there
			log.Warn("boards in containers are left alone: WASMBED_PROVISIONER_ENGINE is process", "folder", filepath.Join(p.Dir, containers))
		}
	case engineAuto, engineDocker:
		if err := e.openDocker(ctx, cfg, log); err != nil {
			e.close()
			return engines{}, err
		}
	default:
		e.close()
		return engines{}, errs.New(errs.Invalid, "WASMBED_PROVISIONER_ENGINE is %q", p.Engine).WithMend("auto, process or docker")
	}
	for _, backend := range []string{provisioner.BackendHost, provisioner.BackendQEMU, provisioner.BackendRenode} {
		if err := local.Can(backend); err != nil {
			log.Info("boards of a backend cannot be processes here", "backend", backend, "cause", err)
		}
	}
	if p.Sandbox && !hasSandbox(ctx, p.Qemu) {
		cfg.Provisioner.Sandbox = false
	}
	return e, nil
}

// containers is the folder of boards in containers.
const containers = "containers"

// openDocker adds the docker engine. With auto it may be missing, and carries the boards of Devices that do not say when it
// can run QEMU. Errors: Unavailable, Conflict, Invalid.
func (e *engines) openDocker(ctx context.Context, cfg *Config, log *slog.Logger) error {
	p := cfg.Provisioner
	d, err := docker.New(ctx, docker.Options{
		Host: p.DockerHost, Dir: filepath.Join(p.Dir, containers), HostDir: p.DockerDir, Images: p.Firmware, QEMU: p.QemuImage, Renode: p.RenodeImage,
		User: p.DockerUser, Log: log,
	})
	switch {
	case err != nil && p.Engine == engineAuto && !errs.Is(err, errs.Conflict):
		log.Info("boards are processes: there is no Docker", "cause", err)
		return nil
	case err != nil:
		return err
	}
	local := e.close
	e.all[engineDocker], e.close = d, func() { d.Close(); local() }
	for _, backend := range []string{provisioner.BackendQEMU, provisioner.BackendRenode} {
		err := d.Can(ctx, backend)
		switch {
		case err != nil:
			log.Info("boards of a backend cannot be containers here", "backend", backend, "cause", err)
		case backend == provisioner.BackendQEMU:
			e.first = engineDocker
		}
	}
	if p.Engine == engineDocker {
		e.first = engineDocker
	}
	log.Info("boards of Devices that do not say are in engine "+e.first, "setting", p.Engine)
	return nil
}

// hasSandbox reports whether a QEMU takes its -sandbox option.
func hasSandbox(ctx context.Context, qemu string) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	return exec.CommandContext(ctx, qemu, "-sandbox", "on", "-version").Run() == nil
}

const probeTime = 5 * time.Second

// firmware finds images in a folder.
type firmware struct {
	dir   string
	mu    sync.Mutex
	known map[string]digest
}

type digest struct {
	size int64
	at   time.Time
	sum  string
}

// image returns the digest of an image. Errors: NotFound.
func (f *firmware) image(name string) (string, error) {
	path := filepath.Join(f.dir, name)
	file, err := os.Open(path)
	if err != nil {
		return "", errs.New(errs.NotFound, "firmware image: %w", err).WithMend("make firmware builds it; WASMBED_PROVISIONER_FIRMWARE names its folder")
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", errs.New(errs.Unavailable, "firmware image: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if d, ok := f.known[name]; ok && d.size == info.Size() && d.at.Equal(info.ModTime()) {
		return d.sum, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return "", errs.New(errs.Unavailable, "firmware image: %w", err)
	}
	sum := "sha256:" + hex.EncodeToString(h.Sum(nil))
	if f.known == nil {
		f.known = map[string]digest{}
	}
	f.known[name] = digest{info.Size(), info.ModTime(), sum}
	return sum, nil
}
