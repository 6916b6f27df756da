package folder

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

func spec() provisioner.Spec {
	return provisioner.Spec{
		Key: provisioner.Key{Namespace: "plant", Name: "press"}, Board: "Mps2An385", Image: "a.elf",
		Files:   []provisioner.File{{Name: "blob.bin", Data: []byte("blob"), Secret: true}, {Name: "memory.bin", Keep: true, Size: 100, Fill: 0xff}},
		Console: provisioner.Channel{Kind: provisioner.ChannelSocket, Path: "console.sock"}, Relay: provisioner.Relay{Path: "gateway.sock"},
	}
}

func images(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.elf"), []byte("firmware"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func prepare(t *testing.T, dir string, s provisioner.Spec) {
	t.Helper()
	if err := Image(dir, images(t), s); err != nil {
		t.Fatal(err)
	}
	if err := Files(dir, s); err != nil {
		t.Fatal(err)
	}
	if err := Give(dir, s, os.Getuid(), os.Getgid()); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	s := spec()
	prepare(t, dir, s)
	memory := filepath.Join(dir, "memory.bin")
	if got := read(t, memory); got != strings.Repeat("\xff", 100) {
		t.Errorf("%q", got)
	}
	if err := os.WriteFile(memory, bytes.Repeat([]byte{1}, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Files[0].Data = []byte("another")
	prepare(t, dir, s) // kept, and written anew
	if read(t, memory)[0] != 1 || read(t, filepath.Join(dir, "blob.bin")) != "another" || read(t, filepath.Join(dir, "image.elf")) != "firmware" {
		t.Error("not as it should be")
	}
	s.Files[1].Size = 10
	prepare(t, dir, s)
	if len(read(t, memory)) != 10 {
		t.Error("another size keeps what was there")
	}

	s.ImageDigest = "sha256:00"
	if err := Image(dir, images(t), s); !errs.Is(err, errs.Conflict) {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"../a.elf", "/a.elf"} {
		s.Image = name
		if err := Image(dir, images(t), s); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.Image = "b.elf"
	if err := Image(dir, images(t), s); !errs.Is(err, errs.NotFound) {
		t.Errorf("%v", err)
	}
	s.Files[0].Name = "../blob.bin"
	if err := Files(dir, s); !errs.Is(err, errs.Invalid) {
		t.Errorf("%v", err)
	}
	if err := Wipe(dir, "memory.bin"); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%v", left)
	}
}

// A board that was taken over by somebody leaves traps in its folder: links to what it wants written, read or spoken to, and
// pipes that whoever opens them waits at.
func TestTraps(t *testing.T) {
	host := t.TempDir()
	secret := filepath.Join(host, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := spec()
	names := []string{"image.elf", "image.elf.new", "blob.bin", "memory.bin", "memory.bin.new", "console.sock", "gateway.sock"}
	for trap, set := range map[string]func(path string) error{
		"link":        func(p string) error { return os.Symlink(secret, p) },
		"folder link": func(p string) error { return os.Symlink(host, p) },
		"pipe":        func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"folder":      func(p string) error { return os.Mkdir(p, 0o700) },
		"hard link":   func(p string) error { return os.Link(secret, p) },
	} {
		dir := t.TempDir()
		for _, name := range names {
			if err := set(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		prepare(t, dir, s)
		ln, err := Listen(dir, "gateway.sock")
		if err != nil {
			t.Fatalf("%s: %v", trap, err)
		}
		ln.Close()
		if read(t, secret) != "secret" {
			t.Fatalf("%s: the host's file was written", trap)
		}
		if info, err := os.Stat(secret); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", trap, info, err)
		}
		if info, err := os.Lstat(filepath.Join(dir, "memory.bin")); err != nil || !info.Mode().IsRegular() || info.Size() != 100 {
			t.Errorf("%s: %v %v", trap, info, err)
		}
		if err := Wipe(dir); err != nil {
			t.Error(err)
		}
	}
	if left, _ := os.ReadDir(host); len(left) != 1 {
		t.Errorf("%v", left)
	}

	// A link to somebody else's socket is not spoken to.
	ln, err := net.Listen("unix", filepath.Join(host, "docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(host, "docker.sock"), filepath.Join(dir, "console.sock")); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), dir, "console.sock"); !errs.Is(err, errs.Denied) {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"../docker.sock", "/docker.sock", "..", ""} {
		if _, err := Dial(t.Context(), dir, name); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := Listen(dir, name); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// A folder with a path longer than the address of a socket.
func TestSockets(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 50))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	c := provisioner.Channel{Kind: provisioner.ChannelSocket, Path: "a.sock"}
	late := make(chan net.Listener, 1)
	go func() {
		ln, err := Listen(dir, "a.sock")
		if err != nil {
			t.Error(err)
		}
		late <- ln
	}()
	conn, err := Open(t.Context(), dir, "id", c, done) // whoever is first waits for the other
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	(<-late).Close()
	close(done)
	if _, err := Open(t.Context(), dir, "id", c, done); !errs.Is(err, errs.Conflict) {
		t.Errorf("%v", err)
	}
	c.Kind = provisioner.ChannelOutput
	if _, err := Open(t.Context(), dir, "id", c, done); !errs.Is(err, errs.Unsupported) {
		t.Errorf("%v", err)
	}
	if err := Reset(t.Context(), dir, provisioner.Spec{}); !errs.Is(err, errs.Unsupported) {
		t.Errorf("%v", err)
	}
}

func TestKeys(t *testing.T) {
	for _, k := range []provisioner.Key{{}, {Namespace: "a"}, {Namespace: "..", Name: "b"}, {Namespace: "a", Name: "b/c"}, {Namespace: "a", Name: "b\x00"}, {Namespace: ".", Name: "b"}} {
		if err := Check(k); !errs.Is(err, errs.Invalid) {
			t.Errorf("%v: %v", k, err)
		}
	}
	if err := Check(provisioner.Key{Namespace: "a", Name: "b.c"}); err != nil {
		t.Error(err)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	f, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(path); err == nil {
		t.Error("locked twice")
	}
	f.Close()
	if f, err = Lock(path); err != nil {
		t.Fatal(err)
	}
	f.Close()
}

func TestQMPRefusals(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "qmp.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	answers := make(chan string, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, <-answers)
			io.ReadAtLeast(c, make([]byte, 10), 1)
			c.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, answer := range []string{"", "hello\n", `{"QMP":{}}{"error":{"desc":"no"}}`, `{"QMP":{}}{"return":{}}`, `{}`} {
		answers <- answer
		if answer == "" {
			short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
			if err := qmp(short, dir, "qmp.sock", "system_reset"); err == nil {
				t.Error("silence was taken for an answer")
			}
			stop()
			continue
		}
		if err := qmp(ctx, dir, "qmp.sock", "system_reset"); err == nil {
			t.Errorf("%q was taken for an answer", answer)
		}
	}
	if err := qmp(ctx, dir, "none.sock", "system_reset"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("%v", err)
	}
}
