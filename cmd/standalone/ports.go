package main

import (
	"errors"
	"net"
	"strconv"
	"syscall"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/ports"
)

// bind takes an address for a part. With port 0, the port of the last time is tried first. what and variable
// are for people.
func bind(what, variable, address, last string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errs.New(errs.Invalid, "%s: %w", variable, err)
	}
	wanted := address
	if _, lastPort, err := net.SplitHostPort(last); port == "0" && err == nil {
		wanted = net.JoinHostPort(host, lastPort)
	}
	l, err := ports.Listen(wanted, "")
	if errors.Is(err, syscall.EADDRINUSE) && wanted != address {
		l, err = ports.Listen(address, "")
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, errs.New(errs.Unavailable, "%s is in use: the %s cannot listen there", address, what).
			WithMend("set %s to another address; port 0 takes any", variable)
	case err != nil:
		return nil, errs.New(errs.Unavailable, "%s: %w", what, err).WithMend("%s says where it listens", variable)
	}
	return l, nil
}

// reserve names an address for a part that somebody else will start: the one that is asked for, the one of
// the last time, or one that is free now.
func reserve(what, variable, address, last string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", errs.New(errs.Invalid, "%s: %w", variable, err)
	}
	if port != "0" {
		return address, nil
	}
	if _, lastPort, err := net.SplitHostPort(last); err == nil {
		return net.JoinHostPort(host, lastPort), nil
	}
	l, err := bind(what, variable, address, "")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return net.JoinHostPort(host, strconv.Itoa(l.Addr().(*net.TCPAddr).Port)), nil
}
