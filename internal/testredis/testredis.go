// Package testredis starts a real redis-server for a test.
package testredis

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/internal/ports"
)

// Server is a redis-server of one test.
type Server struct {
	Addr string
	URL  string
	cmd  *exec.Cmd
	args []string
}

// Start starts a redis-server from PATH on a free port, with its data in a temporary folder, and stops it
// when the test ends. It fails the test when there is none: tests here do not fake Redis. Extra arguments
// go to the server.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("redis-server is not on PATH (Debian: apt-get install redis-server)")
	}
	dir := t.TempDir()
	for range starts {
		l, err := ports.Listen("127.0.0.1:0", "") // outside of what outgoing connections take
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		s := &Server{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
		s.URL = "redis://" + s.Addr
		s.args = append([]string{bin, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--dir", dir}, args...)
		if err = s.start(); err == nil {
			t.Cleanup(func() { s.Kill() })
			return s
		}
		s.Kill()
		t.Logf("%v; another port", err)
	}
	t.Fatal("redis-server does not start")
	return nil
}

// starts is how many ports Start tries: somebody else may take one between choosing and using it.
const starts = 5

// Restart starts the server again after Kill, on the same port and folder.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}

// start starts the process and waits until it, and not somebody else on its port, answers.
func (s *Server) start() error {
	s.cmd = exec.Command(s.args[0], s.args[1:]...)
	if err := s.cmd.Start(); err != nil {
		return err
	}
	c := redis.NewClient(&redis.Options{Addr: s.Addr})
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		info, err := c.Info(ctx, "server").Result()
		switch {
		case err == nil && strings.Contains(info, fmt.Sprintf("process_id:%d\r", s.cmd.Process.Pid)):
			return nil
		case err == nil && strings.Contains(info, "process_id:"):
			return fmt.Errorf("another redis-server is on %s", s.Addr)
		case ctx.Err() != nil:
			return fmt.Errorf("redis-server on %s does not answer: %v", s.Addr, err)
		}
	}
}

// Kill ends the server with SIGKILL.
func (s *Server) Kill() {
	if s.cmd != nil && s.cmd.Process != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}

// Client returns a client that is closed when the test ends.
func (s *Server) Client(t testing.TB) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.Addr})
	t.Cleanup(func() { c.Close() })
	return c
}
