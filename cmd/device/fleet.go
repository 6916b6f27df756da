package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"wasmbed.io/wasmbed/firmware/port/host"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

// Config is the command's environment, and its manual.
type Config struct {
	Device struct {
		Gateway    string        `required:"true" desc:"host:port of the gateway's TLS listener"`
		Trust      string        `required:"true" desc:"PEM file with the trust anchors of the gateway's certificate"`
		Dir        string        `default:"device" desc:"directory for key, certificate, modules and state; of a fleet: one folder for each device in it"`
		Name       string        `default:"host" desc:"device name (RFC 1123 label); of a fleet: NAME-0001, NAME-0002, ..."`
		Board      string        `default:"Host" desc:"board type that it says it is"`
		Claim      string        `desc:"enrollment claim; without one the gateway's namespace must be in a pairing window"`
		ServerName string        `split_words:"true" desc:"name in the gateway's certificate (default: the host of the gateway's address)"`
		Count      int           `default:"1" desc:"devices in this process"`
		Stagger    time.Duration `default:"5ms" desc:"pause between the starts of two devices of a fleet"`
		Sync       bool          `default:"true" desc:"wait for the disk, as a device must that shall bear a power cut; false makes large simulated fleets faster"`
	}
}

// devices returns what each device of the process is.
func (c *Config) devices() ([]host.Config, error) {
	d := c.Device
	if d.Count < 1 || d.Count > 100_000 {
		return nil, errs.New(errs.Invalid, "%d devices", d.Count)
	}
	pem, err := os.ReadFile(d.Trust)
	if err != nil {
		return nil, errs.New(errs.Invalid, "trust anchors: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errs.New(errs.Invalid, "no certificate in %s", d.Trust)
	}
	one := host.Config{
		Gateway:    d.Gateway,
		Roots:      roots,
		Name:       d.Name,
		Board:      d.Board,
		Dir:        d.Dir,
		ServerName: d.ServerName,
		Claim:      []byte(d.Claim),
		NoSync:     !d.Sync,
	}
	if b, known := provisioner.BoardNamed(d.Board); known {
		if b.Refused != "" {
			return nil, errs.New(errs.Invalid, "board %s cannot be a device: %s", b.Name, b.Refused)
		}
		memory, size := b.StandIn()
		one.ModuleMemory, one.ModuleSize = uint32(memory), uint32(size)
	}
	if d.Count == 1 {
		return []host.Config{one}, nil
	}
	all := make([]host.Config, d.Count)
	for i := range all {
		all[i] = one
		all[i].Name = fmt.Sprintf("%s-%04d", d.Name, i+1)
		all[i].Dir = filepath.Join(d.Dir, all[i].Name)
	}
	return all, nil
}

// serve runs the devices until ctx ends. Only what is wrong with this machine or its settings ends them earlier: a gateway that is
// away is waited for.
func serve(ctx context.Context, cfg *Config, log *slog.Logger) error {
	devices, err := cfg.devices()
	if err != nil {
		return err
	}
	shared, err := host.NewShared(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for i, config := range devices {
		if i > 0 && !pause(ctx, cfg.Device.Stagger) {
			break
		}
		config.Log, config.Shared = log, shared
		device, err := host.New(config)
		if err != nil {
			cancel(err)
			break
		}
		wg.Go(func() {
			if err := device.Run(ctx); err != nil {
				cancel(err)
			}
		})
	}
	log.Info("started", "devices", len(devices), "gateway", cfg.Device.Gateway)
	wg.Wait()
	// Producers before what they use: the devices have ended, now the engine.
	err = shared.Close(context.WithoutCancel(ctx))
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// pause waits, and reports whether ctx still goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
