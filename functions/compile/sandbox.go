package compile

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

// paths are the programs of a compilation, and the folders that they need to see beside /usr.
type paths struct {
	program string
	script  string // of a program that interprets one
	see     []string
}

const (
	work   = "/sources" // inside; no folder of the machine that a compiler may see lies below it
	output = "module.wasm"
)

// sandboxed runs a command in the folder and returns what it printed, and whether it failed. The error is for a
// sandbox that could not be made (Unavailable) and for a command that took too long (Deadline).
func sandboxed(ctx context.Context, dir string, p paths, command []string) (printed string, failed bool, err error) {
	args := []string{
		"--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL",
		"--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
		"--ro-bind-try", "/etc/alternatives", "/etc/alternatives", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp",
	}
	for _, s := range p.see {
		args = append(args, "--ro-bind", s, s)
	}
	args = append(args, "--bind", dir, work, "--chdir", work, "--clearenv", "--setenv", "PATH", "/usr/bin", "--setenv", "HOME", "/tmp",
		"--setenv", "LANG", "C.UTF-8", "--setenv", "TMPDIR", "/tmp", "--",
		"/usr/bin/prlimit", "--cpu="+strconv.Itoa(cpuTime), "--data="+strconv.Itoa(memory), "--fsize="+strconv.Itoa(fileSize),
		"--nofile="+strconv.Itoa(openFiles), "--core=0", "--")
	cmd := exec.CommandContext(ctx, "bwrap", append(args, command...)...)
	cmd.Env = []string{"PATH=/usr/bin:/bin"} // what the sandbox is started with can be read in it
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out := &bounded{most: maxLog}
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return out.String(), true, errs.New(errs.Deadline, "the compiler took longer than %v", wallTime)
	case err == nil:
		return out.String(), false, nil
	case errors.As(err, &exit) && !strings.HasPrefix(out.String(), "bwrap: "):
		return out.String(), true, nil
	case errors.As(err, &exit):
		return "", true, errs.New(errs.Unavailable, "the sandbox cannot be made: %s", strings.TrimSpace(out.String())).
			WithMend("bubblewrap needs user namespaces (sysctl kernel.unprivileged_userns_clone=1), or to run as root")
	}
	return "", true, errs.New(errs.Unavailable, "the sandbox cannot be made: %w", err)
}

// bounded keeps the beginning of what is written.
type bounded struct {
	bytes.Buffer
	most int
}

// Write implements io.Writer. What is over is dropped, and the writer goes on.
func (b *bounded) Write(p []byte) (int, error) {
	if room := b.most - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}

// probe is what is known of a language's tools on this machine.
type probe struct {
	paths   paths
	version string
	why     string // missing: what
	mend    string
	at      time.Time
}

// probe looks for a language's tools, and remembers what it found.
func (f *Function) probe(ctx context.Context, l *language) probe {
	f.mu.Lock()
	p, ok := f.probed[l.name]
	f.mu.Unlock()
	if ok && (p.why == "" || f.d.Now().Sub(p.at) < probeEvery) {
		return p
	}
	p = f.look(ctx, l)
	p.at = f.d.Now()
	f.mu.Lock()
	f.probed[l.name] = p
	f.mu.Unlock()
	return p
}

func (f *Function) look(ctx context.Context, l *language) probe {
	for _, tool := range []struct{ name, mend string }{
		{"bwrap", "it makes the sandbox (Debian: apt-get install bubblewrap)"}, {"prlimit", "it sets the limits (Debian: apt-get install util-linux)"},
	} {
		if _, err := exec.LookPath(tool.name); err != nil {
			return probe{why: tool.name + " is missing", mend: tool.mend}
		}
	}
	p := l.find(f.d)
	if p.why != "" {
		return p
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	dir, err := os.MkdirTemp("", "wasmbed-probe-")
	if err != nil {
		return probe{why: err.Error()}
	}
	defer os.RemoveAll(dir)
	printed, failed, err := sandboxed(ctx, dir, p.paths, l.version(p.paths))
	switch {
	case err != nil:
		return probe{why: err.Error(), mend: "see the service's log"}
	case failed:
		return probe{why: l.title + ": " + lastLine(printed), mend: l.mend}
	}
	p.version = strings.TrimSpace(strings.SplitN(printed, "\n", 2)[0])
	return p
}

// inUsr finds a program that the sandbox sees: one below /usr, links followed.
func inUsr(name string) string {
	for _, dir := range []string{"/usr/bin", "/usr/local/bin"} {
		path := filepath.Join(dir, name)
		real, err := filepath.EvalSymlinks(path)
		if err != nil || !strings.HasPrefix(real, "/usr/") {
			continue
		}
		if st, err := os.Stat(real); err == nil && st.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}
