package main

import (
	"context"
	"crypto/rand"

	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/broker/stream"
	"wasmbed.io/wasmbed/webui"
)

const dashboardTokenFile = "dashboard-token"

func (p *platform) makeWebUI() (serveFunc, error) {
	token, err := p.dashboardToken()
	if err != nil {
		return nil, err
	}
	l := ledger.New(p.rdb, ledger.Options{})
	h, err := webui.New(webui.Deps{
		Ledger: l, Affinity: affinity.New(p.rdb, l.Keys(), affinity.Options{}), Token: token, Log: p.log.With("of", partWebUI),
		Recents: func(ctx context.Context, from string, n int) ([]webui.Recent, string, error) {
			events, next, err := stream.Recent(ctx, p.rdb, from, n, 0)
			if err != nil {
				return nil, from, err
			}
			out := make([]webui.Recent, len(events))
			for i, e := range events {
				out[i] = webui.Recent{Time: e.Accepted, Type: e.Event.Type(), Subject: e.Event.Subject()}
			}
			return out, next, nil
		},
	})
	if err != nil {
		return nil, err
	}
	return serveHTTP("status page", p.ends.Dashboard, h, functionsGrace)
}

// dashboardToken returns the token of the status page, made at the first start.
func (p *platform) dashboardToken() (string, error) {
	token := p.state.read(dashboardTokenFile)
	if token == "" {
		token = rand.Text()
		if err := p.state.write(dashboardTokenFile, []byte(token+"\n")); err != nil {
			return "", err
		}
	}
	return token, nil
}

// dashboardURL is the status page's address with its token.
func (p *platform) dashboardURL() string {
	return "http://" + p.ends.Dashboard + "/?token=" + p.state.read(dashboardTokenFile)
}
