package folder

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"strings"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

// Reset pulls the reset line of the board that runs in a folder. Errors: Unsupported (it has none), Unavailable, Internal.
func Reset(ctx context.Context, dir string, s provisioner.Spec) error {
	ctx, cancel := context.WithTimeout(ctx, controlFor)
	defer cancel()
	switch c := s.Control; c.Kind {
	case provisioner.ControlQMP:
		return qmp(ctx, dir, c.Path, "system_reset")
	case provisioner.ControlRenode:
		return renode(ctx, dir, c.Path, "reset")
	}
	return errs.New(errs.Unsupported, "backend %s has no reset line", s.Backend)
}

// qmp has QEMU execute commands, one after the other.
func qmp(ctx context.Context, dir, path string, commands ...string) error {
	c, err := Dial(ctx, dir, path)
	if err != nil {
		return errs.New(errs.Unavailable, "QEMU's monitor: %w", err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	in := json.NewDecoder(io.LimitReader(c, maxAnswer))
	var greeting struct {
		QMP json.RawMessage `json:"QMP"`
	}
	if err := in.Decode(&greeting); err != nil || greeting.QMP == nil {
		return errs.New(errs.Unavailable, "QEMU's monitor does not greet: %v", err)
	}
	for _, command := range append([]string{"qmp_capabilities"}, commands...) {
		b, err := json.Marshal(map[string]string{"execute": command})
		if err != nil {
			return errs.New(errs.Internal, "%w", err)
		}
		if _, err := c.Write(append(b, '\n')); err != nil {
			return errs.New(errs.Unavailable, "QEMU's monitor: %s: %w", command, err)
		}
		for {
			var answer struct {
				Return json.RawMessage `json:"return"`
				Error  *struct {
					Desc string `json:"desc"`
				} `json:"error"`
			}
			if err := in.Decode(&answer); err != nil {
				return errs.New(errs.Unavailable, "QEMU's monitor: %s: %w", command, err)
			}
			if answer.Error != nil {
				return errs.New(errs.Internal, "QEMU refuses %s: %s", command, answer.Error.Desc)
			}
			if answer.Return != nil {
				break
			} // else an event
		}
	}
	return nil
}

// renode has sockets.cs execute a command.
func renode(ctx context.Context, dir, path, command string) error {
	c, err := Dial(ctx, dir, path)
	if err != nil {
		return errs.New(errs.Unavailable, "Renode's control socket: %w", err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	if _, err := io.WriteString(c, command+"\n"); err != nil {
		return errs.New(errs.Unavailable, "Renode: %s: %w", command, err)
	}
	answer, err := bufio.NewReader(io.LimitReader(c, maxAnswer)).ReadString('\n')
	if err != nil {
		return errs.New(errs.Unavailable, "Renode: %s: %w", command, err)
	}
	if word, _, _ := strings.Cut(strings.TrimSpace(answer), " "); word != "ok" {
		return errs.New(errs.Internal, "Renode refuses %s: %s", command, strings.TrimSpace(answer))
	}
	return nil
}
