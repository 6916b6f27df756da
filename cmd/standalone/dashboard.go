package main

import (
	"fmt"
	"io"
	"net/url"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/webui"
)

const adminTokenFile = "token"

func (p *platform) makeWebUI() (serveFunc, error) {
	h, err := webui.New(webui.Deps{API: &url.URL{Scheme: "http", Host: p.ends.API}, Code: p.coded, Log: p.log.With("of", partWebUI)})
	if err != nil {
		return nil, err
	}
	return serveHTTP("dashboard", p.ends.Dashboard, h, functionsGrace)
}

// coded exchanges a link's code, once, for the administrator's token, which so never stands in an address.
func (p *platform) coded(code string) (string, bool) {
	token := p.state.read(adminTokenFile)
	if token == "" || !p.state.takeCode(code, time.Now()) {
		return "", false
	}
	return token, true
}

// link is the dashboard's address, as a link that logs in one browser, once and soon.
func (s *state) link(dashboard string, now time.Time) (string, error) {
	code, err := s.makeCode(now)
	if err != nil {
		return "", err
	}
	return webui.Link("http://"+dashboard, code), nil
}

// printLink prints a new link of the platform in the state folder.
func printLink(dir string, out io.Writer, now time.Time) error {
	s, err := existing(dir)
	if err != nil {
		return err
	}
	ends := s.loadEndpoints()
	if ends.Dashboard == "" || !s.has(adminTokenFile) {
		return errs.New(errs.NotFound, "no platform was started in %s", dir).WithMend("make run, or WASMBED_DIR names its folder")
	}
	link, err := s.link(ends.Dashboard, now)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, link)
	return err
}
