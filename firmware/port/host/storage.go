package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"wasmbed.io/wasmbed/internal/errs"
)

// directory is the device's storage: one file for each blob and slot, and the lock that keeps a second process out.
// One goroutine at a time uses it.
type directory struct {
	path string
	lock *os.File
	sync bool        // false: the file system decides when bytes are on the disk (fleet simulations)
	dead func() bool // true: the power is gone, nothing more is written; nil: never
}

var errDead = errors.New("the device was killed")

// alive is asked before every change.
func (s *directory) alive() error {
	if s.dead != nil && s.dead() {
		return errDead
	}
	return nil
}

// openDirectory makes the directory when it is missing, and takes its lock. The error is errs.Conflict when another device
// runs on it.
func openDirectory(path string, sync bool) (*directory, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, errs.New(errs.Unavailable, "storage: %w", err)
	}
	lock, err := os.Open(path)
	if err != nil {
		return nil, errs.New(errs.Unavailable, "storage: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, errs.New(errs.Conflict, "storage %s is another running device's", path)
	}
	return &directory{path: path, lock: lock, sync: sync}, nil
}

func (s *directory) close() { _ = s.lock.Close() } // also gives the lock back

func (s *directory) file(name string) string { return filepath.Join(s.path, name) }

func blobName(key uint16) string      { return fmt.Sprintf("blob-%04x", key) }
func slotName(app, slot uint8) string { return fmt.Sprintf("slot-%d-%d", app, slot) }
func (s *directory) syncFile(f *os.File) error {
	if !s.sync {
		return nil
	}
	return f.Sync()
}

// syncNames makes what was created, renamed or removed durable.
func (s *directory) syncNames() error { return s.syncFile(s.lock) }

// put replaces a file as a whole: whoever reads it sees the old or the new content, after a power cut too.
func (s *directory) put(name string, data []byte) error {
	if err := s.alive(); err != nil {
		return err
	}
	temporary := s.file(name + ".new")
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, s.syncFile(f), f.Close())
	if err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, s.file(name)); err != nil {
		return err
	}
	return s.syncNames()
}

func (s *directory) get(name string) ([]byte, error) { return os.ReadFile(s.file(name)) }

// remove is content when the file is not there.
func (s *directory) remove(name string) error {
	if err := s.alive(); err != nil {
		return err
	}
	if err := os.Remove(s.file(name)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return s.syncNames()
}

// A slot is a file that ends with its last written byte. What lies behind the end, and in holes, was never written or
// erased; it reads as 0xff behind the end and as 0 in holes, and nobody relies on either.

func (s *directory) slotErase(app, slot uint8, offset, length uint32) error {
	if err := s.alive(); err != nil {
		return err
	}
	f, err := os.OpenFile(s.file(slotName(app, slot)), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size() > int64(offset) {
		end := int64(offset) + int64(length)
		if end >= info.Size() {
			err = f.Truncate(int64(offset))
		} else {
			_, err = f.WriteAt(make([]byte, length), int64(offset))
		}
	}
	return errors.Join(err, f.Close())
}

func (s *directory) slotWrite(app, slot uint8, offset uint32, data []byte) error {
	if err := s.alive(); err != nil {
		return err
	}
	f, err := os.OpenFile(s.file(slotName(app, slot)), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, int64(offset))
	return errors.Join(err, f.Close())
}

func (s *directory) slotRead(app, slot uint8, offset uint32, buf []byte) error {
	f, err := os.Open(s.file(slotName(app, slot)))
	n := 0
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		n, err = f.ReadAt(buf, int64(offset))
		_ = f.Close()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	for i := range buf[n:] {
		buf[n+i] = 0xff
	}
	return nil
}

func (s *directory) slotSync(app, slot uint8) error {
	if !s.sync {
		return nil
	}
	f, err := os.Open(s.file(slotName(app, slot)))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), s.syncNames())
}
