// Package ports chooses TCP ports that stay free until they are used.
package ports

import (
	"math/rand/v2"
	"net"
	"strconv"
)

// The range that is chosen from lies below the one from which Linux takes the ports of outgoing connections
// (32768 and up): a port from there may be somebody's connection in the moment between two listeners, or at the
// next start.
const (
	low   = 20000
	high  = 30000
	tries = 64
)

// Listen listens on a TCP address. With port 0 it takes the port of last (host:port, may be empty) when that is
// free, else a free one of its own range, else any.
func Listen(address, last string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if port != "0" {
		return net.Listen("tcp", address)
	}
	if _, p, err := net.SplitHostPort(last); err == nil && p != "0" {
		if l, err := net.Listen("tcp", net.JoinHostPort(host, p)); err == nil {
			return l, nil
		}
	}
	for range tries {
		p := low + rand.IntN(high-low)
		if l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(p))); err == nil {
			return l, nil
		}
	}
	return net.Listen("tcp", address)
}
