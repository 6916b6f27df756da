package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"wasmbed.io/wasmbed/internal/errs"
)

func (c *cli) consoleCmd() *cobra.Command {
	var follow, raw bool
	tail := -1
	cmd := &cobra.Command{
		Use: "console DEVICE", Short: "Show what an emulated board writes on its console",
		Long: `Show what an emulated board writes on its console: all that is kept of it (64 KiB), or the last lines. With -f it
goes on until interrupted, also over resets of the board and restarts of the provisioner.

Control characters are kept from the terminal, but for new lines and tabs; --raw lets everything through.`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: c.complete("devices"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if tail < -1 {
				return errs.New(errs.Invalid, "--tail is a number of lines")
			}
			out := c.out
			if !raw {
				out = &plainText{w: c.out}
			}
			return c.console(cmd.Context(), args[0], tail, follow, out)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&follow, "follow", "f", false, "go on until interrupted")
	f.IntVar(&tail, "tail", -1, "begin with the last so many lines (default: all that are kept)")
	f.BoolVar(&raw, "raw", false, "let control characters through")
	return cmd
}

// console copies a console to out. One that is followed is opened again when it breaks, after what was shown.
func (c *cli) console(ctx context.Context, device string, tail int, follow bool, out io.Writer) error {
	wait, opened := 200*time.Millisecond, false
	for {
		q := url.Values{}
		if tail >= 0 {
			q.Set("tail", strconv.Itoa(tail))
		}
		if follow {
			q.Set("follow", "true")
		}
		n, err := c.consoleOnce(ctx, device, q, out)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && n < 0 && !(opened && again(err)): // it was not opened
			return err
		case !follow:
			return err
		}
		if n >= 0 {
			opened, wait, tail = true, 200*time.Millisecond, 0
			fmt.Fprintln(c.err, "-- the console broke off; it is opened again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, 5*time.Second)
	}
}

func again(err error) bool {
	return errs.Is(err, errs.Unavailable) || errs.Is(err, errs.Exhausted) || errs.Is(err, errs.NotFound)
}

// consoleOnce returns how many bytes came, -1 when the console was not opened.
func (c *cli) consoleOnce(ctx context.Context, device string, q url.Values, out io.Writer) (int64, error) {
	resp, err := c.rest.send(ctx, http.MethodGet, c.ns("devices", device, "console"), q, nil, "text/plain")
	if err != nil {
		return -1, err
	}
	defer resp.Body.Close()
	n, err := io.Copy(out, resp.Body)
	if err != nil && !errors.Is(err, context.Canceled) {
		return n, errs.New(errs.Unavailable, "the console broke: %w", err)
	}
	return n, nil
}

// plainText keeps what a board writes from steering the terminal: escape sequences are left out, other control
// characters and what is no UTF-8 become question marks, new lines and tabs stay.
type plainText struct {
	w     io.Writer
	state escape
	part  []byte // the beginning of a character whose rest has not come
}

type escape uint8

const (
	text    escape = iota
	escaped        // after ESC
	control        // inside ESC [ …, up to its final byte
	command        // inside ESC ] …, up to BEL or ESC
)

// Write implements io.Writer; it takes all of b also when it shows less of it.
func (p *plainText) Write(b []byte) (int, error) {
	in := append(p.part, b...)
	p.part = nil
	out := make([]byte, 0, len(in))
	for len(in) > 0 {
		if !utf8.FullRune(in) {
			p.part = append([]byte(nil), in...)
			break
		}
		r, n := utf8.DecodeRune(in)
		bad := r == utf8.RuneError && n == 1
		in = in[n:]
		switch p.state {
		case escaped:
			switch r {
			case '[':
				p.state = control
			case ']':
				p.state = command
			default:
				p.state = text
			}
			continue
		case control:
			if r == '\n' { // a sequence that never ends swallows one line at most
				p.state = text
				out = append(out, '\n')
			} else if r >= 0x40 && r <= 0x7e {
				p.state = text
			}
			continue
		case command:
			switch r {
			case '\n':
				p.state = text
				out = append(out, '\n')
			case 0x07:
				p.state = text
			case 0x1b:
				p.state = escaped // ESC \ ends it
			}
			continue
		}
		switch {
		case r == 0x1b:
			p.state = escaped
		case r == '\r':
		case bad:
			out = append(out, '?')
		case r == '\n' || r == '\t':
			out = utf8.AppendRune(out, r)
		default:
			out = utf8.AppendRune(out, printable(r))
		}
	}
	if _, err := p.w.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}
