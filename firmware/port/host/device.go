package host

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"hash"
	"log/slog"
	"math"
	"net"
	"runtime/cgo"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	engine "wasmbed.io/wasmbed/firmware/runtime/wazero"
	"wasmbed.io/wasmbed/internal/errs"
)

// Config is what a device is. The first six fields are required.
type Config struct {
	Gateway string         // host:port
	Roots   *x509.CertPool // trust anchors of the gateway's certificate
	Name    string         // wished name (RFC 1123 label)
	Board   string
	Dir     string  // its storage: key, certificate, modules, state
	Shared  *Shared // with the other devices of the process

	// RAM for one instance and size of a module slot, bytes: what the board that it stands for would have left.
	// Zero: a generous default (limits.go).
	ModuleMemory, ModuleSize uint32

	ServerName string // in the gateway's certificate; default: the host of Gateway
	Firmware   string // version; default "host"
	Claim      []byte // enrollment claim
	Log        *slog.Logger
	NoSync     bool // do not wait for the disk: for simulations of many devices, whose state may then be lost with the power

	Dial   DialFunc                                 // default: TCP
	Now    func() time.Time                         // for certificates; default time.Now
	Sensor func(id uint32) (value float64, ok bool) // default: simulated temperature, humidity and voltage
	Timing Timing
}

// Timing overrides the core's delays; zero is its default (firmware/core/include/wasmbed/device.h).
type Timing struct {
	BackoffMin, BackoffMax, ConnectTimeout, AnswerTimeout time.Duration
	BatchDelay, TransferTimeout, RestartDelay             time.Duration
	Chunk                                                 uint32 // bytes of a module asked for at once
}

// Device is one device. Run drives it; the other methods may be called from any goroutine.
type Device struct {
	config Config
	log    *slog.Logger
	tls    *tls.Config // without a certificate
	wakeup chan struct{}
	killed chan struct{}
	kill   sync.Once
	links  sync.WaitGroup // goroutines of connections

	mu      sync.Mutex // held while the core executes
	core    *C.wb_device
	memory  []unsafe.Pointer // C memory to free with the core
	handle  cgo.Handle
	started time.Time // boot
	closed  bool

	// Used inside of the core's callbacks only, so under mu.
	dir       *directory
	id        *identity
	link      *link
	digest    hash.Hash
	instances [apps]*engine.Instance
	modules   context.Context // of calls into modules; ends at Kill
	stop      context.CancelFunc
	pins      [pins]uint32
	reboot    bool
	epoch     C.uint64_t  // of the session that was logged
	away      atomic.Bool // the last connection failed: the next failure is no news
}

// New opens the device's directory and boots it. It touches no network before Run. The error is errs.Invalid for a
// configuration that cannot be, errs.Conflict when another process runs on the directory, errs.Unavailable when
// the directory cannot be used.
func New(config Config) (*Device, error) {
	host, _, err := net.SplitHostPort(config.Gateway)
	switch {
	case err != nil:
		return nil, errs.New(errs.Invalid, "gateway address %q: %w", config.Gateway, err)
	case config.Name == "" || config.Board == "" || config.Dir == "" || config.Roots == nil || config.Shared == nil:
		return nil, errs.New(errs.Invalid, "a device needs a name, a board, a directory, trust anchors and Shared")
	}
	if config.ServerName == "" {
		config.ServerName = host
	}
	if config.Firmware == "" {
		config.Firmware = "host"
	}
	if config.ModuleMemory == 0 {
		config.ModuleMemory = moduleMemory
	}
	if config.ModuleSize == 0 || config.ModuleSize > moduleSize {
		config.ModuleSize = moduleSize
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.Dial == nil {
		config.Dial = (&net.Dialer{}).DialContext
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	d := &Device{
		config: config,
		log:    config.Log.With("device", config.Name),
		wakeup: make(chan struct{}, 1),
		killed: make(chan struct{}),
	}
	if config.Sensor == nil {
		d.config.Sensor = d.simulatedSensor
	}
	d.tls = &tls.Config{
		MinVersion:       tls.VersionTLS13,
		NextProtos:       []string{"wasmbed/1"},
		RootCAs:          config.Roots,
		ServerName:       config.ServerName,
		Time:             config.Now,
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256}, // what boards have
	}
	d.modules, d.stop = context.WithCancel(context.Background())
	if d.dir, err = openDirectory(config.Dir, !config.NoSync); err != nil {
		return nil, err
	}
	d.dir.dead = d.dead
	if d.id, err = openIdentity(d.dir, config.Name); err != nil {
		d.dir.close()
		return nil, err
	}
	d.handle = cgo.NewHandle(d)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.boot(); err != nil {
		d.free()
		return nil, err
	}
	return d, nil
}

// boot starts the core from what the directory holds.
func (d *Device) boot() error {
	d.started = time.Now()
	d.reboot = false
	measurement, err := d.config.Shared.measurement()
	if err != nil {
		return err
	}
	c := C.wb_config{
		board:           d.text(d.config.Board),
		firmware:        d.text(d.config.Firmware),
		name:            d.text(d.config.Name),
		measurement:     (*C.uint8_t)(d.bytes(measurement[:])),
		apps:            apps,
		module_size:     C.uint32_t(d.config.ModuleSize),
		module_memory:   C.uint32_t(d.config.ModuleMemory),
		permissions:     C.WB_PERMIT_LOG | C.WB_PERMIT_CLOCK | C.WB_PERMIT_TELEMETRY | C.WB_PERMIT_MESSAGE | C.WB_PERMIT_KV | C.WB_PERMIT_GPIO | C.WB_PERMIT_SENSOR | C.WB_PERMIT_TIMER | C.WB_PERMIT_RANDOM,
		frame_in:        frameIn,
		frame_out:       frameOut,
		scratch:         scratch,
		telemetry_queue: queueBytes,
		log_queue:       queueBytes / 2,
		message_queue:   queueBytes / 2,
		chunk:           C.uint32_t(d.config.Timing.Chunk),

		backoff_min:      milliseconds(d.config.Timing.BackoffMin),
		backoff_max:      milliseconds(d.config.Timing.BackoffMax),
		connect_timeout:  milliseconds(d.config.Timing.ConnectTimeout),
		answer_timeout:   milliseconds(d.config.Timing.AnswerTimeout),
		batch_delay:      milliseconds(d.config.Timing.BatchDelay),
		transfer_timeout: milliseconds(d.config.Timing.TransferTimeout),
		restart_delay:    milliseconds(d.config.Timing.RestartDelay),
	}
	if n := len(d.config.Claim); n > 0 {
		c.claim = C.wb_bytes{data: (*C.uint8_t)(d.bytes(d.config.Claim)), len: C.size_t(n)}
	}
	c.memory_size = C.wb_device_memory(&c)
	if c.memory_size == 0 {
		return errs.New(errs.Invalid, "the core refuses this configuration")
	}
	c.memory = C.calloc(1, c.memory_size)
	d.memory = append(d.memory, c.memory)
	var port C.wb_port
	C.wb_shim_port(&port, C.uintptr_t(d.handle))
	if code := C.wb_device_init(&d.core, &c, &port); code < 0 {
		d.core = nil
		return errs.New(errs.Internal, "the core does not start: %s", C.GoString(C.wb_error_name(code)))
	}
	return nil
}

func (d *Device) text(s string) *C.char {
	p := C.CString(s)
	d.memory = append(d.memory, unsafe.Pointer(p))
	return p
}

func (d *Device) bytes(b []byte) unsafe.Pointer {
	p := C.CBytes(b)
	d.memory = append(d.memory, p)
	return p
}

func milliseconds(t time.Duration) C.uint32_t {
	return C.uint32_t(min(max(t.Milliseconds(), 0), math.MaxUint32))
}

// Run drives the device until ctx ends, when it says goodbye and stops its modules, or until Kill. The network never ends it.
// The error is of the kind of New's, after a reboot that the gateway asked for. A device runs once.
func (d *Device) Run(ctx context.Context) error {
	defer d.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case d.config.Shared.polls <- struct{}{}:
		case <-d.killed:
			return nil
		}
		wait, err := d.poll()
		<-d.config.Shared.polls
		if err != nil {
			return err
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-d.killed:
			return nil
		default:
		}
		select {
		case <-d.wakeup:
		case <-timer.C:
		case <-ctx.Done():
			return nil
		case <-d.killed:
			return nil
		}
	}
}

// poll lets the core do what it can, and says how long it wants to rest.
func (d *Device) poll() (time.Duration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return 0, errs.New(errs.Invalid, "the device has ended")
	}
	ms := int64(C.wb_device_poll(d.core))
	d.notice()
	if d.reboot {
		d.log.Info("reboot")
		d.end()
		return 0, d.boot()
	}
	if d.link != nil {
		want := C.wb_device_wait(d.core)
		if d.link.ready(want&C.WB_WAIT_READ != 0, want&C.WB_WAIT_WRITE != 0) {
			return 0, nil
		}
	}
	return time.Duration(min(max(ms, 0), time.Hour.Milliseconds())) * time.Millisecond, nil
}

// notice logs a new session.
func (d *Device) notice() {
	var stats C.wb_stats
	C.wb_device_stats(d.core, &stats)
	if stats.epoch != 0 && stats.epoch != d.epoch {
		d.log.Info("session", "epoch", uint64(stats.epoch), "gateway", d.config.Gateway)
	}
	d.epoch = stats.epoch
}

// dead reports whether Kill was called: from then on nothing may reach the storage.
func (d *Device) dead() bool {
	select {
	case <-d.killed:
		return true
	default:
		return false
	}
}

func (d *Device) wake() {
	select {
	case d.wakeup <- struct{}{}:
	default: // it will look anyway
	}
}

// Kill ends the device as a power cut does: nothing is said to the gateway or the modules, nothing more is written. A call into a
// module is broken off. What the directory holds is what the next New goes on with, once Run has returned.
func (d *Device) Kill() {
	d.kill.Do(func() {
		close(d.killed)
		d.stop()
	})
}

// Close ends a device that is not running. Run does it by itself.
func (d *Device) Close() {
	d.mu.Lock()
	if !d.closed {
		if d.dead() {
			if d.link != nil {
				d.link.cut()
				d.link = nil
			}
		} else {
			d.end()
		}
		d.free()
	}
	d.mu.Unlock()
	d.links.Wait()
}

// end says goodbye and stops the core; boot may follow.
func (d *Device) end() {
	if d.core != nil {
		C.wb_device_deinit(d.core)
		d.core = nil
	}
	d.freeMemory()
}

func (d *Device) freeMemory() {
	for _, p := range d.memory {
		C.free(p)
	}
	d.memory, d.core = nil, nil
}

// free gives back everything else. The core is not called any more.
func (d *Device) free() {
	d.closed = true
	d.stop()
	for i, instance := range d.instances {
		if instance != nil {
			instance.Close()
			d.instances[i] = nil
		}
	}
	d.freeMemory()
	d.handle.Delete()
	d.dir.close()
}

// simulatedSensor is what a device measures that has no sensors: 0 a temperature in °C over the day, 1 humidity in percent, 2 the
// supply in volts.
func (d *Device) simulatedSensor(id uint32) (float64, bool) {
	const day = float64(24 * time.Hour)
	phase := 2 * math.Pi * math.Mod(float64(d.config.Now().UnixNano()), day) / day
	switch id {
	case 0:
		return 20 - 5*math.Cos(phase), true
	case 1:
		return 50 + 10*math.Cos(phase), true
	case 2:
		return 3.3, true
	}
	return 0, false
}

// fill fills buf with random bytes, for the core and its modules.
func fill(buf []byte) { _, _ = rand.Read(buf) } // never fails: it ends the process instead

func newDigest() hash.Hash { return sha256.New() }
