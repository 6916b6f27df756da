package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// machineInfo is where the figures are from.
type machineInfo struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Memory     string `json:"memory"`
	System     string `json:"system"`
	Kernel     string `json:"kernel"`
	Go         string `json:"go"`
	Redis      string `json:"redis"`
	Commit     string `json:"commit,omitempty"`
	LoadBefore string `json:"loadBefore"` // of one minute, of everybody on the machine
	LoadAfter  string `json:"loadAfter"`
}

func machine(ctx context.Context, root string) machineInfo {
	m := machineInfo{Cores: runtime.NumCPU(), Go: runtime.Version(), LoadBefore: load(), CPU: "unknown CPU", System: runtime.GOOS}
	m.CPU = field("/proc/cpuinfo", "model name", m.CPU)
	if kb, err := strconv.ParseInt(strings.TrimSuffix(field("/proc/meminfo", "MemTotal", ""), " kB"), 10, 64); err == nil {
		m.Memory = fmt.Sprintf("%.0f GiB", float64(kb)/(1<<20))
	}
	m.System = strings.Trim(field("/etc/os-release", "PRETTY_NAME", m.System), `"`)
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(b))
	}
	if b, err := exec.CommandContext(ctx, "redis-server", "--version").Output(); err == nil {
		for _, f := range strings.Fields(string(b)) {
			if v, ok := strings.CutPrefix(f, "v="); ok {
				m.Redis = "Redis " + v
			}
		}
	}
	cmd := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty")
	cmd.Dir = root
	if b, err := cmd.Output(); err == nil {
		m.Commit = strings.TrimSpace(string(b))
	}
	return m
}

// field returns what stands after key in a file of "key: value" or "key=value" lines.
func field(path, key, otherwise string) string {
	f, err := os.Open(path)
	if err != nil {
		return otherwise
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		if i := strings.IndexAny(in.Text(), ":="); i > 0 && strings.TrimSpace(in.Text()[:i]) == key {
			return strings.TrimSpace(in.Text()[i+1:])
		}
	}
	return otherwise
}

func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	one, _, _ := strings.Cut(string(b), " ")
	return one
}

// moduleRoot is the folder of go.mod, from here upwards.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("run it in the source tree: there is no go.mod here or above")
		}
		dir = up
	}
	return "", err
}

// usage is what a process has and has used.
type usage struct {
	pid      int
	name     string
	rss, pss int64 // bytes
	peak     int64 // RSS, bytes
	cpu      time.Duration
}

// tree returns a process and all below it, by name.
func tree(pid int) ([]usage, error) {
	parents := map[int][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		p, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if st, err := stat(p); err == nil {
			if up, err := strconv.Atoi(st[1]); err == nil {
				parents[up] = append(parents[up], p)
			}
		}
	}
	var out []usage
	for all := []int{pid}; len(all) > 0; all = all[1:] {
		u, err := used(all[0])
		if err != nil {
			if all[0] == pid {
				return nil, err
			}
			continue // it ended
		}
		out = append(out, u)
		all = append(all, parents[all[0]]...)
	}
	return out, nil
}

// stat returns the fields of /proc/PID/stat behind the process' name: state, parent, …
func stat(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 13 {
		return nil, fmt.Errorf("/proc/%d/stat is short", pid)
	}
	return f, nil
}

func used(pid int) (usage, error) {
	u := usage{pid: pid}
	st, err := stat(pid)
	if err != nil {
		return u, err
	}
	ticks, err := strconv.ParseInt(st[11], 10, 64)
	if err != nil {
		return u, err
	}
	sys, err := strconv.ParseInt(st[12], 10, 64)
	if err != nil {
		return u, err
	}
	u.cpu = time.Duration(ticks+sys) * 10 * time.Millisecond // USER_HZ is 100
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil {
		u.name = strings.TrimSpace(string(name))
	}
	rollup := fmt.Sprintf("/proc/%d/smaps_rollup", pid)
	u.rss, u.pss = kilobytes(rollup, "Rss"), kilobytes(rollup, "Pss")
	u.peak = kilobytes(fmt.Sprintf("/proc/%d/status", pid), "VmHWM")
	return u, nil
}

func kilobytes(path, key string) int64 {
	n, err := strconv.ParseInt(strings.TrimSuffix(field(path, key, ""), " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}
