package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

// child is a process that standalone keeps running.
type child struct {
	name    string
	command func() *exec.Cmd // makes it anew for each start
	// ready reads the process' standard output until it is ready, and returns an error when it will not be.
	// Nil: it is ready at once.
	ready func(ctx context.Context, out io.Reader) error
	grace time.Duration // between SIGTERM and SIGKILL
	log   *slog.Logger
	state *state
	spawn *spawner
}

// Back-off of restarts.
const (
	restartFirst = 200 * time.Millisecond
	restartMax   = 5 * time.Second
	stableAfter  = 30 * time.Second // a process that ran so long starts again at once
)

// run keeps the process running until ctx ends, then ends it and reaps it. started is called when it is
// ready for the first time. When it ends before that, run gives up: a first start that fails is a setting
// that is wrong. Errors: errs.Unavailable.
func (c *child) run(ctx context.Context, started func()) error {
	logFile, err := c.state.logFile(c.name)
	if err != nil {
		return err
	}
	defer logFile.Close()
	pause, first := restartFirst, true
	for {
		begun := time.Now()
		err := c.once(ctx, logFile, func() {
			if first {
				first = false
				started()
			}
		})
		if ctx.Err() != nil {
			return nil
		}
		if first {
			return errs.New(errs.Unavailable, "%s did not start: %v%s", c.name, err, lastLine(logFile.Name()))
		}
		if time.Since(begun) > stableAfter {
			pause = restartFirst
		}
		c.log.Warn("a process ended and is started again", "process", c.name, "cause", err, "in", pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, restartMax)
	}
}

// once runs the process one time.
func (c *child) once(ctx context.Context, logFile *os.File, ready func()) error {
	cmd := c.command()
	cmd.Stderr = logFile
	var out io.ReadCloser
	if c.ready != nil {
		var err error
		if out, err = cmd.StdoutPipe(); err != nil {
			return err
		}
	} else {
		cmd.Stdout = logFile
	}
	// Its own process group: Ctrl-C in a terminal goes to the whole foreground group, but the order in which
	// things end is ours. And when we are killed, the kernel kills it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.spawn.start(cmd); err != nil {
		return err
	}
	exited := make(chan error, 1)
	var reading sync.WaitGroup
	if c.ready != nil {
		reading.Add(1)
		go func() {
			defer reading.Done()
			err := c.ready(ctx, out)
			if err == nil {
				ready()
			}
			_, _ = io.Copy(logFile, out) // until it ends
		}()
	} else {
		ready()
	}
	go func() {
		reading.Wait() // Wait closes the pipe
		exited <- cmd.Wait()
	}()
	select {
	case err := <-exited:
		if err == nil {
			err = errors.New("it ended by itself")
		}
		return err
	case <-ctx.Done():
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(c.grace, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	return <-exited
}

// firstLine waits for one line of output that accept takes.
func firstLine(accept func(line string) error) func(context.Context, io.Reader) error {
	return func(_ context.Context, out io.Reader) error {
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			return errors.New("it ended before it was ready")
		}
		return accept(line)
	}
}

// lastLine returns what a log says last, for an error message.
func lastLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if last == "" {
		return ""
	}
	if len(last) > 300 {
		last = last[:300] + "…"
	}
	return fmt.Sprintf(": %s (%s)", last, path)
}

// spawner starts processes on one operating system thread that lives as long as we do: Linux sends
// Pdeathsig when the thread ends that started the child, not when the process does.
type spawner struct{ work chan func() }

func newSpawner() *spawner {
	s := &spawner{work: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for f := range s.work {
			f()
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	s.work <- func() { done <- cmd.Start() }
	return <-done
}

// together keeps several processes running until ctx ends.
func together(ctx context.Context, all []*child) {
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() {
			if err := c.run(ctx, func() {}); err != nil {
				c.log.Error("a process cannot be run", "process", c.name, "cause", err)
			}
		})
	}
	wg.Wait()
}
