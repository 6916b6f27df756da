// Package ports chooses TCP ports that stay free until they are used.
package ports

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
	"time"
)

// The range that is chosen from lies below the one from which Linux takes the ports of outgoing connections
// (32768 and up): a port from there may be somebody's connection in the moment between two listeners, or at the
// next start.
const (
	low   = 20000
	high  = 30000
	tries = 64
)

// How long a port that is in use is waited for. A process that was killed a moment ago keeps its ports until its memory
// is torn down; and a program that closes a listener to open it elsewhere shares it, between fork and exec, with
// every child that it happens to be starting.
const (
	settle = 1500 * time.Millisecond
	pause  = 20 * time.Millisecond
)

// Listen listens on a TCP address, which may be in use for up to 1.5 s. With port 0 it takes the port of last (host:port, may be empty) when that is
// free, else a free one of its own range, else any.
func Listen(address, last string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if port != "0" {
		return listen(address)
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

func listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	for end := time.Now().Add(settle); errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(end); {
		time.Sleep(pause)
		l, err = net.Listen("tcp", address)
	}
	return l, err
}
