package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
)

// await waits until the devices are online and the sample application is ready, and returns what is not, for
// people; empty when all is well. Without the parts that make it so there is nothing to wait for.
//
// What Kubernetes says of the devices may be of the time before this start, so the ledger is asked: a session
// must be younger than since.
func (p *platform) await(ctx context.Context, c call, since time.Time) []string {
	for _, need := range []string{partRedis, partKube, partBroker, partSource, partFunctions, partGateway} {
		if !c.with(need) {
			return nil
		}
	}
	cfg, err := p.account("wasmbed")
	if err != nil {
		return []string{err.Error()}
	}
	set, err := client.New(cfg)
	if err != nil {
		return []string{err.Error()}
	}
	l := ledger.New(p.rdb, ledger.Options{})
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Patience)
	defer cancel()
	for {
		missing := p.missing(ctx, set, l, since, c)
		if len(missing) == 0 || ctx.Err() != nil {
			return missing
		}
		select {
		case <-ctx.Done():
			return missing
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// missing says what is not as it should be after a start. Before the gateway has its settings, devices that come
// are told to ask again later.
func (p *platform) missing(ctx context.Context, set *client.Set, l *ledger.Ledger, since time.Time, c call) []string {
	var out []string
	if _, err := l.Gateway(ctx, p.ends.Namespace, p.ends.Gateway); err != nil {
		out = append(out, fmt.Sprintf("gateway %s has no settings yet: %v", p.ends.Gateway, err))
	} else if _, err := l.Trust(ctx, p.ends.Namespace); err != nil {
		out = append(out, fmt.Sprintf("gateway %s has no trust anchors yet: %v", p.ends.Gateway, err))
	}
	var names []string
	if c.with(partProvisioner) {
		var wrong []string
		names, wrong = p.emulated(ctx, set)
		out = append(out, wrong...)
	}
	if c.with(partDevices) {
		for _, b := range p.boards() {
			names = append(names, b.name)
		}
	}
	for _, name := range names {
		v, err := l.Device(ctx, event.Device{Namespace: p.ends.Namespace, Name: name})
		switch {
		case err != nil:
			out = append(out, fmt.Sprintf("device %s is not known yet: %v", name, err))
		case !v.Online || v.ConnectedAt.Before(since):
			out = append(out, fmt.Sprintf("device %s is not connected", name))
		}
	}
	if !p.state.has(seededFile) || len(names) == 0 {
		return out
	}
	a, err := set.Applications.Get(ctx, p.ends.Namespace, sampleName)
	if err != nil { // somebody deleted it: that is no fault
		return out
	}
	ready := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case ready == nil:
		out = append(out, "application hello has no status yet")
	case ready.Status != metav1.ConditionTrue && a.Status.ReadyDesired != "":
		out = append(out, fmt.Sprintf("application hello is ready on %s devices: %s %s", a.Status.ReadyDesired, ready.Reason, ready.Message))
	case ready.Status != metav1.ConditionTrue:
		out = append(out, fmt.Sprintf("application hello is not ready: %s %s", ready.Reason, ready.Message))
	}
	return out
}

// shortly is a life in minutes.
func shortly(d time.Duration) string { return fmt.Sprintf("%d minutes", int(d.Minutes())) }

// say prints what was started and what to try next.
func (p *platform) say(out io.Writer, c call, missing []string, took time.Duration) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(part, name, where string) {
		if part != "" && !c.with(part) {
			where += "  (not started here: standalone part " + part + ")"
		}
		fmt.Fprintf(w, "  %s\t%s\n", name, where)
	}
	is := "ready"
	if len(missing) > 0 {
		is = "up, but not all of it is ready,"
	}
	fmt.Fprintf(w, "\nWasmbed is %s after %.1f s. State is in %s; Ctrl-C stops everything.\n\n", is, took.Seconds(), relative(p.state.dir))
	dashboard, err := p.state.link(p.ends.Dashboard, time.Now())
	if err != nil {
		dashboard = "http://" + p.ends.Dashboard + "  (log in with the token: " + err.Error() + ")"
	} else {
		dashboard += "  (logs in once, within " + shortly(codeLife) + "; another: standalone link)"
	}
	line(partWebUI, "dashboard", dashboard)
	line(partAPI, "REST API", "http://"+p.ends.API+"  (token: "+relative(p.state.path("token"))+")")
	line(partKube, "Kubernetes API", "https://"+p.ends.Kubernetes+"  (kubeconfig: "+relative(p.ends.Kubeconfig)+")")
	line(partGateway, "gateway", p.ends.Address+" for devices, http://"+p.ends.HTTP+" for health and metrics")
	line(partBroker, "broker", p.ends.sink())
	line(partRedis, "Redis", p.redis.said+" (redis-cli -u $(cat "+relative(p.state.path("redis-url"))+"))")
	line("", "logs", relative(p.state.path("log")))
	if boards := p.boards(); len(boards) > 0 {
		var names []string
		for _, b := range boards {
			names = append(names, b.name)
		}
		line(partDevices, "devices", strings.Join(names, ", "))
	}
	if names := strings.Fields(p.state.read(emulatedFile)); len(names) > 0 {
		line(partProvisioner, "emulated", strings.Join(names, ", "))
	}
	fmt.Fprintf(w, "\nTry:\n")
	kube, env := relative(p.ends.Kubeconfig), ""
	if p.cfg.Dir != ".wasmbed" {
		env = "WASMBED_DIR=" + relative(p.state.dir) + " "
	}
	for _, cmd := range []string{
		"export KUBECONFIG=" + kube,
		"kubectl get devices,applications,gateways,modules",
		"kubectl apply -f config/samples/counter.yaml && kubectl wait --for=condition=Ready app/counter",
		"kubectl apply -f config/samples/hello-bad.yaml   # traps, and is rolled back by itself",
		env + "bin/wasmbed status",
		env + "bin/wasmbed telemetry -f",
	} {
		fmt.Fprintf(w, "  %s\n", cmd)
	}
	if lacking := p.lacking(); len(lacking) > 0 {
		fmt.Fprintf(w, "\nLeft out:\n  %s\n", strings.Join(lacking, "\n  "))
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		fmt.Fprintf(w, "\nNot ready:\n  %s\n", strings.Join(missing, "\n  "))
	}
	w.Flush()
}

// relative shortens a path for people when it is below the working directory.
func relative(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return path
}
