package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"wasmbed.io/wasmbed/functions/api"
	"wasmbed.io/wasmbed/internal/errs"
)

// meters are the parts' own metrics, for the API's summary.
func (p *platform) meters() map[string]api.Meter {
	out := map[string]api.Meter{
		partGateway:   api.MeterAt("http://" + p.ends.HTTP + "/metrics"),
		partBroker:    api.MeterAt("http://" + p.ends.Broker + "/metrics"),
		partFunctions: api.MeterAt("http://" + p.ends.Functions + "/metrics"),
	}
	if p.ends.Provisioner != "" && (len(p.cfg.emulation()) > 0 || p.state.has(emulatedFile)) {
		out[partProvisioner] = api.MeterAt("http://" + p.ends.Provisioner + "/metrics")
	}
	return out
}

func (p *platform) redisInfo(ctx context.Context) (string, error) {
	s, err := p.rdb.Info(ctx).Result()
	if err != nil {
		return "", errs.New(errs.Unavailable, "Redis: %w", err)
	}
	return s, nil
}

// asCaller makes Kubernetes clients that are whoever gave the token, and nothing of ours.
func asCaller(base *rest.Config) api.AsCaller {
	anonymous := rest.AnonymousClientConfig(base)
	anonymous.QPS = -1
	return func(token string) (kubernetes.Interface, error) {
		if token == "" {
			return nil, errs.New(errs.Unauthenticated, "a bearer token is required")
		}
		cfg := rest.CopyConfig(anonymous)
		cfg.BearerToken = token
		k, err := kubernetes.NewForConfig(cfg)
		if err != nil {
			return nil, errs.New(errs.Invalid, "kubernetes client: %w", err)
		}
		return k, nil
	}
}

// maxLogTail is how much of a log's end is looked at for its last lines, bytes.
const maxLogTail = 1 << 20

// partLogs reads the logs of the state folder: each process has a file; parts that run in ours share one, in which each
// line says whose it is.
type partLogs struct{ state *state }

// inProcess are the parts that run in this process.
func inProcess() []string {
	return []string{partAPI, partBroker, partFunctions, partGateway, partSource, partWebUI}
}

// Names implements api.PartLogs.
func (l partLogs) Names(context.Context) ([]string, error) {
	files, err := filepath.Glob(l.state.path("log", "*.log"))
	if err != nil {
		return nil, errs.New(errs.Internal, "logs: %w", err)
	}
	out := inProcess()
	for _, f := range files {
		out = append(out, strings.TrimSuffix(filepath.Base(f), ".log"))
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// Tail implements api.PartLogs.
func (l partLogs) Tail(ctx context.Context, part string, n int) ([]string, error) {
	names, err := l.Names(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(names, part) {
		return nil, errs.New(errs.NotFound, "no part %q has a log here", part).WithMend("they are %s", strings.Join(names, ", "))
	}
	file, only := part, ""
	if slices.Contains(inProcess(), part) {
		file, only = "standalone", "of="+part
	}
	lines, err := lastLines(l.state.path("log", file+".log"))
	if err != nil {
		return nil, err
	}
	if only != "" {
		lines = slices.DeleteFunc(lines, func(s string) bool { return !slices.Contains(strings.Fields(s), only) })
	}
	return lines[max(0, len(lines)-n):], nil
}

// lastLines reads the end of a file.
func lastLines(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errs.New(errs.Unavailable, "log: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, errs.New(errs.Unavailable, "log: %w", err)
	}
	from := max(0, st.Size()-maxLogTail)
	b, err := io.ReadAll(io.NewSectionReader(f, from, maxLogTail))
	if err != nil {
		return nil, errs.New(errs.Unavailable, "log: %w", err)
	}
	if from > 0 { // not with half a line
		_, b, _ = bytes.Cut(b, []byte("\n"))
	}
	text := strings.ToValidUTF8(strings.TrimSuffix(string(b), "\n"), "\uFFFD")
	if text == "" {
		return nil, nil
	}
	return strings.Split(text, "\n"), nil
}
