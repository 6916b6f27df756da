package serial

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wasmbed.io/wasmbed/provisioner/blob"
)

const patience = 20 * time.Second

// machine is the bare-metal image of firmware/tests on QEMU's mps2-an385.
type machine struct {
	t       *testing.T
	dir     string
	console net.Conn
	lines   chan string
}

func startMachine(t *testing.T) *machine {
	t.Helper()
	for _, tool := range []string{"qemu-system-arm", "arm-none-eabi-gcc", "make"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("not run: no %s", tool)
		}
	}
	m := &machine{t: t, dir: t.TempDir()}
	if out, err := exec.Command("make", "-C", "../../firmware/tests", "baremetal", "OUT="+m.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := blob.Blob{Board: "Mps2An385", Name: "bench-1", Host: "gateway", Port: 8081, ServerName: "gateway", Trust: [][]byte{{0x30}},
		Seed: make([]byte, 32), Floor: time.Now()}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	m.write("blob", data)
	m.write("memory", nil)
	if err := os.Truncate(m.path("memory"), 16<<20); err != nil {
		t.Fatal(err)
	}
	listen := m.listen("console")
	cmd := exec.Command("qemu-system-arm", "-no-user-config", "-nodefaults", "-display", "none",
		"-object", "memory-backend-file,id=mps.ram,size=16M,mem-path="+m.path("memory")+",share=on", "-machine", "mps2-an385,memory-backend=mps.ram",
		"-device", "loader,file="+m.path("blob")+",addr=0x21100000,force-raw=on", "-kernel", m.path("Mps2An385-serial.elf"),
		"-serial", "unix:"+m.path("console"), "-serial", "unix:"+m.path("link")+",server=on,wait=off", "-nic", "none")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if m.console, err = listen.Accept(); err != nil {
		t.Fatal(err)
	}
	m.lines = make(chan string, 1000)
	go func() { // always: a console that nobody reads stops the board after some 300 bytes
		defer close(m.lines)
		for in := bufio.NewScanner(m.console); in.Scan(); {
			m.lines <- in.Text()
		}
	}()
	return m
}

func (m *machine) path(name string) string { return filepath.Join(m.dir, name) }

func (m *machine) write(name string, data []byte) {
	if err := os.WriteFile(m.path(name), data, 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) listen(name string) net.Listener {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: m.path(name)})
	if err != nil {
		m.t.Fatal(err)
	}
	l.SetDeadline(time.Now().Add(patience))
	m.t.Cleanup(func() { l.Close() })
	return l
}

// see reads the console until a line holds the text.
func (m *machine) see(text string) {
	m.t.Helper()
	late := time.After(patience)
	for {
		select {
		case line, ok := <-m.lines:
			if strings.Contains(line, text) {
				return
			}
			if !ok {
				m.t.Fatalf("the console ended and never said %q", text)
			}
		case <-late:
			m.t.Fatalf("the console never said %q", text)
		}
	}
}

func (m *machine) press(letter string) {
	if _, err := io.WriteString(m.console, letter); err != nil {
		m.t.Fatal(err)
	}
}

// bridge runs a bridge to the board until the test ends or stop is called.
func (m *machine) bridge(dial Dial) (stop func()) {
	m.t.Helper()
	port, err := net.Dial("unix", m.path("link"))
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	log := slog.New(slog.NewTextHandler(m.t.Output(), nil))
	go func() { done <- Bridge(ctx, port, dial, log) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			m.t.Error(err)
		}
		done <- nil
	}
	m.t.Cleanup(stop)
	return stop
}

// talk takes the next connection that the board speaks on, checks its hello and that 16 KiB of every byte come back. A
// request that was on its way while the bridge said that it is new costs a connection without a word.
func talk(t *testing.T, l net.Listener, boot int) net.Conn {
	t.Helper()
	l.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	var c net.Conn
	var r *bufio.Reader
	var hello string
	for try := 0; hello == "" && try < 3; try++ {
		var err error
		if c, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
		r = bufio.NewReader(c)
		hello, err = r.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	if want := fmt.Sprintf("hello bench-1 %d\n", boot); hello != want {
		t.Fatalf("the board said %q, want %q", hello, want)
	}
	data := make([]byte, 16<<10)
	for i := range data {
		data[i] = byte(i)
	}
	go c.Write(data)
	back := make([]byte, len(data))
	if _, err := io.ReadFull(r, back); err != nil || !bytes.Equal(back, data) {
		t.Fatalf("what came back is not what was sent: %v", err)
	}
	return c
}

// TestBoard: the C line on a (emulated) microcontroller against the Go bridge over a real UART: through a reset, a
// crash, a gateway that closes, and a bridge that is started anew.
func TestBoard(t *testing.T) {
	m := startMachine(t)
	gw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer gw.Close()
	dial := func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", gw.Addr().String())
	}
	m.see("wasmbed: boot Mps2An385")
	m.see("boot 1, the one before ended by power")
	m.see("ready")
	stop := m.bridge(dial)
	begun := time.Now()
	c := talk(t, gw, 1)
	t.Logf("16 KiB there and back in %v", time.Since(begun))
	m.see("serial line: open")

	c.Close() // the gateway
	m.see("serial line: closed")
	talk(t, gw, 1)

	m.press("r")
	m.see("boot 2, the one before ended by reset")
	talk(t, gw, 2)

	m.press("c")
	m.see("wasmbed: fault cpu")
	m.see("boot 3, the one before ended by fault")
	c = talk(t, gw, 3)

	stop() // the bridge goes: so does its connection
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the gateway's end: %v", err)
	}
	m.bridge(dial)
	talk(t, gw, 3)
}
