package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// board is one host device.
type board struct{ name, board string }

// boards names the host devices: a board's name in lower case, numbered when there are several.
func (p *platform) boards() []board {
	var out []board
	seen := map[string]int{}
	for _, b := range p.cfg.boards() {
		name := strings.ToLower(b)
		if seen[name]++; seen[name] > 1 {
			name = fmt.Sprintf("%s-%d", name, seen[name])
		}
		out = append(out, board{name: name, board: b})
	}
	return out
}

// startDevices starts the devices when gateways know whom to let in: one that asks too early is told to wait
// for half a minute.
func (p *platform) startDevices(ctx context.Context, c call) error {
	if c.with(partFunctions) && c.with(partBroker) && c.with(partSource) && c.with(partGateway) {
		if err := p.waitForSettings(ctx); err != nil {
			return err
		}
		p.reached("gateways know their settings")
	}
	return p.startBoards(ctx)
}

func (p *platform) waitForSettings(ctx context.Context) error {
	l := ledger.New(p.rdb, ledger.Options{})
	wctx, cancel := context.WithTimeout(ctx, p.cfg.Patience)
	defer cancel()
	for {
		_, err := l.Gateway(wctx, p.ends.Namespace, p.ends.Gateway)
		if err == nil {
			_, err = l.Trust(wctx, p.ends.Namespace)
		}
		if err == nil {
			return nil
		}
		select {
		case <-wctx.Done():
			if ctx.Err() != nil {
				return errs.New(errs.CodeOf(ctx.Err()), "%w", context.Cause(ctx))
			}
			p.log.Error("the gateway's settings did not arrive; devices are started anyway", "cause", err)
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *platform) startBoards(ctx context.Context) error {
	boards := p.boards()
	if len(boards) == 0 {
		return nil
	}
	bin, err := p.cfg.program("device")
	if err != nil {
		return err
	}
	var all []*child
	for _, b := range boards {
		dir := p.state.path("devices", b.name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return errs.New(errs.Invalid, "state folder: %w", err)
		}
		all = append(all, &child{
			name: "device-" + b.name, grace: childGrace, log: p.log, state: p.state, spawn: p.spawn,
			command: func() *exec.Cmd {
				cmd := exec.Command(bin)
				cmd.Env = append(os.Environ(),
					"WASMBED_DEVICE_GATEWAY="+p.ends.Address, "WASMBED_DEVICE_TRUST="+p.state.path(trustFile),
					"WASMBED_DEVICE_DIR="+dir, "WASMBED_DEVICE_NAME="+b.name, "WASMBED_DEVICE_BOARD="+b.board)
				return cmd
			},
		})
	}
	p.runs.keep(ctx, partDevices, func(ctx context.Context) { together(ctx, all) })
	return nil
}
