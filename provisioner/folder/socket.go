package folder

import (
	"context"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

// Times and limits.
const (
	dialEvery  = 10 * time.Millisecond // while a program has not opened its socket
	dialFor    = 60 * time.Second      // Renode takes seconds to open its ports
	controlFor = 10 * time.Second      // an answer of QEMU or Renode
	maxAnswer  = 256 << 10             // bytes of it
)

// Dial connects to a socket in a folder. The address of a Unix socket holds 107 bytes and paths are longer, so the socket is
// named by an open file; and a link that was put in its place, to a socket that is none of the board's, is refused.
func Dial(ctx context.Context, dir, name string) (net.Conn, error) {
	if !Plain(name) {
		return nil, errs.New(errs.Invalid, "socket %q", name)
	}
	folder, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(folder)
	fd, err := unix.Openat(folder, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, errs.New(errs.Denied, "%s in the board's folder is no socket", name)
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", "/proc/self/fd/"+strconv.Itoa(fd))
}

// Listen opens a socket in a folder, in place of what has its name. It is for everybody who reaches the folder.
func Listen(dir, name string) (net.Listener, error) {
	if !Plain(name) {
		return nil, errs.New(errs.Invalid, "socket %q", name)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := root.RemoveAll(name); err != nil {
		return nil, err
	}
	folder, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(folder)
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: "/proc/self/fd/" + strconv.Itoa(folder) + "/" + name})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false) // the number will be another file's
	if err := root.Chmod(name, 0o666); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// Open connects to a board's channel, waiting for a program that has not opened it yet, until done. Errors: Conflict (the
// board has ended), Unsupported, Deadline.
func Open(ctx context.Context, dir, id string, c provisioner.Channel, done <-chan struct{}) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialFor)
	defer cancel()
	if c.Kind != provisioner.ChannelSocket {
		return nil, errs.New(errs.Unsupported, "a channel of kind %q cannot be opened", c.Kind)
	}
	for {
		conn, err := Dial(ctx, dir, c.Path)
		if err == nil {
			return conn, nil
		}
		select {
		case <-done:
			return nil, errs.New(errs.Conflict, "board %s has ended", id)
		case <-ctx.Done():
			return nil, errs.New(errs.CodeOf(ctx.Err()), "board %s: %w", id, err)
		case <-time.After(dialEvery):
		}
	}
}
