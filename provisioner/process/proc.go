package process

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

// ticks a second of the times in /proc/PID/stat: USER_HZ, 100 on every Linux that Go knows.
const ticks = 100

// tokenName is the variable by which a process is found that was started and not noted.
const tokenName = "WASMBED_BOARD_TOKEN"

// proc reads /proc.
type proc struct{ boot string }

func newProc() (proc, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return proc{}, errs.New(errs.Unsupported, "boards as processes need /proc: %w", err).WithMend("use the docker engine")
	}
	return proc{boot: strings.TrimSpace(string(b))}, nil
}

// stat is what is used of /proc/PID/stat.
type stat struct {
	state byte
	group int
	start uint64 // ticks since boot
	cpu   time.Duration
}

func (proc) stat(pid int) (stat, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, false
	}
	// The second field is the program's name in parentheses, which may hold anything.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return stat{}, false
	}
	f := strings.Fields(string(b[i+1:])) // from field 3
	if len(f) < 20 {
		return stat{}, false
	}
	n := func(i int) uint64 { v, _ := strconv.ParseUint(f[i], 10, 64); return v }
	return stat{state: f[0][0], group: int(n(2)), start: n(19), cpu: time.Duration(n(11)+n(12)) * time.Second / ticks}, true
}

// alive reports whether a process is the one that was started then.
func (p proc) alive(pid int, start uint64, boot string) bool {
	if pid <= 0 || boot != p.boot {
		return false
	}
	s, ok := p.stat(pid)
	return ok && s.start == start && s.state != 'Z' && s.state != 'X'
}

// pids lists all processes.
func (proc) pids() []int {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	var out []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			out = append(out, pid)
		}
	}
	return out
}

// leader returns the first process of the group that carries a token, 0 when there is none.
func (p proc) leader(token string) int {
	want := []byte(tokenName + "=" + token)
	for _, pid := range p.pids() {
		env, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
		if err != nil || !bytes.Contains(env, want) {
			continue
		}
		if s, ok := p.stat(pid); ok && s.state != 'Z' {
			return s.group
		}
	}
	return 0
}

// usage sums up a process group.
func (p proc) usage(group int) (provisioner.Usage, error) {
	var u provisioner.Usage
	for _, pid := range p.pids() {
		s, ok := p.stat(pid)
		if !ok || s.group != group {
			continue
		}
		u.CPU += s.cpu
		u.PIDs += int64(p.threads(pid))
		u.Memory += p.pss(pid)
	}
	if u.PIDs == 0 {
		return u, errs.New(errs.Conflict, "process group %d has ended", group)
	}
	return u, nil
}

// pss returns a process' proportional share of memory, its resident set where the kernel does not say.
func (proc) pss(pid int) int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		b, err = os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	}
	if err != nil {
		return 0
	}
	for _, key := range []string{"Pss:", "VmRSS:"} {
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, key); ok {
				f := strings.Fields(rest)
				if len(f) > 0 {
					kib, _ := strconv.ParseInt(f[0], 10, 64)
					return kib << 10
				}
			}
		}
	}
	return 0
}

func (proc) threads(pid int) int {
	d, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		return 1
	}
	return len(d)
}

// sendGroup sends to a whole process group; a group that is gone is no error.
func sendGroup(group int, s unix.Signal) error {
	if group <= 1 {
		return errs.New(errs.Internal, "process group %d", group)
	}
	if err := unix.Kill(-group, s); err != nil && err != unix.ESRCH {
		return errs.New(errs.Internal, "signal process group %d: %w", group, err)
	}
	return nil
}
