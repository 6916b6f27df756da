// Package folder is a board's folder: the files that its program needs, the sockets that it opens, and how it is reset
// through one of them. All engines share it. What runs in a folder may be hostile and may have put anything there: nothing
// here follows a link out of the folder, and nothing waits at what should be a file and is a pipe.
package folder

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

// Check reports whether a key can name a folder. Errors: Invalid.
func Check(k provisioner.Key) error {
	for _, part := range []string{k.Namespace, k.Name} {
		if !Plain(part) {
			return errs.New(errs.Invalid, "%q cannot name a folder", part)
		}
	}
	return nil
}

// Plain reports whether a name is one file's in one folder.
func Plain(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\\\x00")
}

// Lock opens a file and locks it, without waiting. The lock is the open file's: it lasts until the last process that
// inherited it has ended.
func Lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	return f, nil
}

// Image copies the firmware of a Spec from the folder of images into the board's and checks that it is the one that was
// planned with. Errors: NotFound, Conflict (it changed meanwhile), Invalid, Internal.
func Image(dir, images string, s provisioner.Spec) error {
	if s.Image == "" {
		return nil
	}
	if !filepath.IsLocal(s.Image) {
		return errs.New(errs.Invalid, "firmware image %q", s.Image)
	}
	in, err := os.Open(filepath.Join(images, s.Image))
	if err != nil {
		return errs.New(errs.NotFound, "firmware image: %w", err).WithMend("make firmware BOARD=%s", s.Board)
	}
	defer in.Close()
	h := sha256.New()
	sum := ""
	err = within(dir, func(root *os.Root) error {
		const part = provisioner.ImageFile + ".new"
		out, err := create(root, part, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.MultiWriter(out, h), in)
		if cerr := out.Close(); err == nil {
			err = cerr
		}
		sum = "sha256:" + hex.EncodeToString(h.Sum(nil))
		if err != nil || s.ImageDigest != "" && sum != s.ImageDigest {
			return err
		}
		if err := root.RemoveAll(provisioner.ImageFile); err != nil {
			return err
		}
		return root.Rename(part, provisioner.ImageFile)
	})
	if err != nil {
		return errs.New(errs.Internal, "board %s: copy firmware: %w", s.Key, err)
	}
	if s.ImageDigest != "" && sum != s.ImageDigest {
		return errs.New(errs.Conflict, "firmware image %s changed meanwhile: %s, not %s", s.Image, sum, s.ImageDigest)
	}
	return nil
}

// Files writes a Spec's files, and makes those that are kept when they are not there. Sockets of the last run are removed:
// QEMU would not take their place otherwise. Errors: Invalid, Internal.
func Files(dir string, s provisioner.Spec) error {
	for _, f := range s.Files {
		if !filepath.IsLocal(f.Name) {
			return errs.New(errs.Invalid, "file %q", f.Name)
		}
	}
	err := within(dir, func(root *os.Root) error {
		for _, socket := range []string{s.Console.Path, s.Link.Path, s.Control.Path, s.Relay.Path} {
			if socket == "" {
				continue
			}
			if err := root.RemoveAll(socket); err != nil {
				return err
			}
		}
		for _, f := range s.Files {
			if f.Keep {
				if err := keep(root, f); err != nil {
					return err
				}
				continue
			}
			mode := os.FileMode(0o644)
			if f.Secret {
				mode = 0o600
			}
			out, err := create(root, f.Name, mode)
			if err != nil {
				return err
			}
			_, err = out.Write(f.Data)
			if cerr := out.Close(); err == nil {
				err = cerr
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return errs.New(errs.Internal, "board %s: %w", s.Key, err)
	}
	return nil
}

// keep makes a file of storage when it is not there, or has another size.
func keep(root *os.Root, f provisioner.File) error {
	if info, err := root.Lstat(f.Name); err == nil && info.Mode().IsRegular() && info.Size() == f.Size {
		return nil
	}
	part := f.Name + ".new"
	out, err := create(root, part, 0o600)
	if err != nil {
		return err
	}
	if f.Fill == 0 {
		err = out.Truncate(f.Size) // takes no place on the disk before it is written
	} else {
		chunk := make([]byte, 64<<10)
		for i := range chunk {
			chunk[i] = f.Fill
		}
		for left := f.Size; left > 0 && err == nil; left -= int64(len(chunk)) {
			_, err = out.Write(chunk[:min(left, int64(len(chunk)))])
		}
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := root.RemoveAll(f.Name); err != nil {
		return err
	}
	return root.Rename(part, f.Name)
}

// create makes a new file in place of whatever has its name.
func create(root *os.Root, name string, mode os.FileMode) (*os.File, error) {
	if err := root.RemoveAll(name); err != nil {
		return nil, err
	}
	return root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
}

// Give makes a folder and what is in it, as Image and Files have written it, a user's own. Errors: Internal.
func Give(dir string, s provisioner.Spec, uid, gid int) error {
	err := within(dir, func(root *os.Root) error {
		names := []string{"."}
		if s.Image != "" {
			names = append(names, provisioner.ImageFile)
		}
		for _, f := range s.Files {
			names = append(names, f.Name)
		}
		for _, name := range names {
			if err := root.Lchown(name, uid, gid); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return errs.New(errs.Internal, "board %s: %w", s.Key, err)
	}
	return nil
}

// Wipe empties a folder, except for the names given. Errors: Internal.
func Wipe(dir string, but ...string) error {
	all, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return errs.New(errs.Internal, "%w", err)
	}
next:
	for _, f := range all {
		for _, name := range but {
			if f.Name() == name {
				continue next
			}
		}
		if err := os.RemoveAll(filepath.Join(dir, f.Name())); err != nil {
			return errs.New(errs.Internal, "%w", err)
		}
	}
	return nil
}

func within(dir string, do func(*os.Root) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return do(root)
}
