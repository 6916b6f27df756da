package main

import (
	"crypto/rand"
	"crypto/subtle"
	"net/url"

	"wasmbed.io/wasmbed/webui"
)

const (
	dashboardTokenFile = "dashboard-token"
	adminTokenFile     = "token"
)

func (p *platform) makeWebUI() (serveFunc, error) {
	if _, err := p.dashboardToken(); err != nil {
		return nil, err
	}
	h, err := webui.New(webui.Deps{API: &url.URL{Scheme: "http", Host: p.ends.API}, Link: p.linked, Log: p.log.With("of", partWebUI)})
	if err != nil {
		return nil, err
	}
	return serveHTTP("dashboard", p.ends.Dashboard, h, functionsGrace)
}

// linked exchanges the printed link's token for the administrator's, which so never stands in an address.
func (p *platform) linked(link string) (string, bool) {
	want := p.state.read(dashboardTokenFile)
	if want == "" || subtle.ConstantTimeCompare([]byte(link), []byte(want)) != 1 {
		return "", false
	}
	token := p.state.read(adminTokenFile)
	return token, token != ""
}

// dashboardToken returns the token of the link that logs in, made at the first start.
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

// dashboardURL is the dashboard's address, as a link that logs in.
func (p *platform) dashboardURL() string {
	return "http://" + p.ends.Dashboard + "/?token=" + p.state.read(dashboardTokenFile)
}
