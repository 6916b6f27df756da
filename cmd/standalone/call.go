package main

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

// Parts of the platform, in the order in which they end: producers before what they use.
const (
	partDevices     = "devices"
	partProvisioner = "provisioner"
	partGateway     = "gateway"
	partSource      = "source"
	partAPI         = "api"
	partWebUI       = "webui"
	partBroker      = "broker"
	partFunctions   = "functions"
	partKube        = "kubeapi"
	partRedis       = "redis"
)

// parts lists them all in that order.
func parts() []string {
	return []string{partDevices, partProvisioner, partGateway, partSource, partAPI, partWebUI, partBroker, partFunctions, partKube, partRedis}
}

// call is what the command line asks for.
type call struct {
	part    string   // run this one alone
	link    bool     // print a link that logs in
	without []string // leave these out
}

// parse reads the command line; rest is for run.Main (--help).
func parse(args []string) (c call, rest []string, err error) {
	check := func(name string) error {
		if !slices.Contains(parts(), name) {
			return errs.New(errs.Invalid, "there is no part %q; there are %s", name, strings.Join(parts(), " "))
		}
		return nil
	}
	for i := 0; i < len(args); i++ {
		name, value, has := strings.Cut(args[i], "=")
		switch {
		case name == "--without" || name == "-without":
			if !has {
				if i++; i == len(args) {
					return c, nil, errs.New(errs.Invalid, "--without needs the names of parts")
				}
				value = args[i]
			}
			for _, p := range strings.Split(value, ",") {
				if err := check(p); err != nil {
					return c, nil, err
				}
				c.without = append(c.without, p)
			}
		case args[i] == "part":
			if i++; i == len(args) {
				return c, nil, errs.New(errs.Invalid, "part needs the name of one: %s", strings.Join(parts(), " "))
			}
			if err := check(args[i]); err != nil {
				return c, nil, err
			}
			c.part = args[i]
		case args[i] == "link":
			c.link = true
		default:
			rest = append(rest, args[i])
		}
	}
	if c.part != "" && len(c.without) > 0 {
		return c, nil, errs.New(errs.Invalid, "part and --without exclude each other")
	}
	if c.link && (c.part != "" || len(c.without) > 0) {
		return c, nil, errs.New(errs.Invalid, "link stands alone")
	}
	return c, rest, nil
}

func (c call) with(part string) bool { return !slices.Contains(c.without, part) }

func (c call) run(ctx context.Context, cfg *Config, log *slog.Logger) error {
	if err := cfg.check(); err != nil {
		return err
	}
	if c.link {
		return printLink(cfg.Dir, os.Stdout, time.Now())
	}
	if c.part != "" {
		return runPart(ctx, cfg, c.part, log, os.Stdout)
	}
	return up(ctx, cfg, c, os.Stdout)
}
