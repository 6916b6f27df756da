package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	uart "go.bug.st/serial"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/run"
	"wasmbed.io/wasmbed/provisioner/serial"
)

// reopenAfter is how long a serial port that ended is left alone.
const reopenAfter = time.Second

func (c *cli) bridgeCmd() *cobra.Command {
	var gateway string
	var baud int
	cmd := &cobra.Command{
		Use: "bridge PORT", Short: "Give a board on a serial port its connection to the gateway", Args: cobra.ExactArgs(1),
		Long: `Give a board on a serial port its connection to the gateway.

The board asks for a TCP connection over its UART and speaks TLS through it; what passes here is encrypted
and needs no key. A port that goes away (a board that is unplugged) is opened again when it is back. Needs no
server; runs until it is interrupted.`,
		Example:     "  wasmbed bridge /dev/ttyACM0 --gateway gateway.example:8081",
		Annotations: offline(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, _, err := net.SplitHostPort(gateway); err != nil {
				return errs.New(errs.Invalid, "--gateway %s: %w", gateway, err)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			open := func() (io.ReadWriteCloser, error) { return uart.Open(args[0], &uart.Mode{BaudRate: baud}) }
			dial := func(ctx context.Context) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", gateway)
			}
			return keepBridge(ctx, open, dial, reopenAfter, run.Logger(c.err, "bridge").With("port", args[0]))
		},
	}
	cmd.Flags().StringVar(&gateway, "gateway", "127.0.0.1:8081", "host:port of the gateway")
	cmd.Flags().IntVar(&baud, "baud", 115200, "bits per second, 8 data bits, no parity, 1 stop bit")
	return cmd
}

// keepBridge bridges until ctx ends. A port that cannot be opened the first time is an error; later it is waited for.
func keepBridge(ctx context.Context, open func() (io.ReadWriteCloser, error), dial serial.Dial, pause time.Duration, log *slog.Logger) error {
	said := false
	for first := true; ctx.Err() == nil; first = false {
		port, err := open()
		switch {
		case err != nil && first:
			return errs.New(errs.Unavailable, "the serial port cannot be opened: %w", err).
				WithMend("is the board plugged in, and may you use the port?")
		case err == nil:
			log.Info("bridging")
			said = false
			if err = serial.Bridge(ctx, port, dial, log); err == nil && ctx.Err() == nil {
				err = fmt.Errorf("the port ended")
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if !said {
			log.Warn("waiting for the port", "error", err)
			said = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}
