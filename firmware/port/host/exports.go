package host

// #include "shim.h"
import "C"

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"runtime/cgo"
	"syscall"
	"time"
	"unsafe"
)

// The port's callbacks: what firmware/core/include/wasmbed/port.h says of each. The core calls them on the goroutine that
// called the core, with Device.mu held.

func deviceOf(handle C.uintptr_t) *Device { return cgo.Handle(handle).Value().(*Device) }

// view makes a slice of C memory (or of Go memory that went through C), valid during the callback.
func view(p unsafe.Pointer, n C.size_t) []byte { return unsafe.Slice((*byte)(p), int(n)) }

// codeOf says what the core needs to know of an error of the file system.
func codeOf(err error) C.int {
	switch {
	case err == nil:
		return C.WB_OK
	case errors.Is(err, fs.ErrNotExist):
		return C.WB_ENOENT
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return C.WB_ENOSPC
	}
	return C.WB_EIO
}

// failed logs an error of the machine that the core only sees as a number.
func (d *Device) failed(what string, err error) C.int {
	code := codeOf(err)
	if code < 0 && code != C.WB_ENOENT && !errors.Is(err, errDead) {
		d.log.Error(what, "error", err)
	}
	return code
}

// answer copies b to the core's buffer.
func answer(b []byte, buf unsafe.Pointer, size C.size_t) C.int {
	if len(b) > int(size) {
		return C.WB_ENOSPC
	}
	return C.int(copy(view(buf, size), b))
}

//export wasmbedLinkOpen
func wasmbedLinkOpen(handle C.uintptr_t, kind C.int) C.int {
	d := deviceOf(handle)
	d.closeLink()
	certificate := d.id.chain
	if kind == C.WB_LINK_FIRST_CONTACT || certificate == nil {
		var err error
		if certificate, err = d.id.firstContact(d.config.Now()); err != nil {
			return d.failed("self-signed certificate", err)
		}
	}
	config := d.tls.Clone()
	// Not config.Certificates: those are shown only to a gateway that names their issuer, and it cannot know the
	// issuer of a self-signed one.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	d.link = openLink(d.config.Dial, d.config.Gateway, config, &d.links, d.wake, d.linkEnded)
	return C.WB_OK
}

// linkEnded logs the first of a row of failures loudly: a gateway that is away for a day is one piece of news, not a thousand.
func (d *Device) linkEnded(connected bool, err error) {
	level := slog.LevelInfo
	switch {
	case !connected && d.away.Swap(true):
		level = slog.LevelDebug
	case statusOf(err) == linkIO:
		level = slog.LevelWarn // the gateway's certificate
	}
	if connected {
		d.away.Store(false)
	}
	d.log.Log(context.Background(), level, "link ended", "error", err)
}

func (d *Device) closeLink() {
	if d.link != nil {
		d.link.close()
		d.link = nil
	}
}

//export wasmbedLinkState
func wasmbedLinkState(handle C.uintptr_t) C.int {
	d := deviceOf(handle)
	if d.link == nil {
		return C.WB_ECLOSED
	}
	return C.int(d.link.state())
}

//export wasmbedLinkSend
func wasmbedLinkSend(handle C.uintptr_t, data unsafe.Pointer, n C.size_t) C.int {
	d := deviceOf(handle)
	if d.link == nil || d.dead() {
		return C.WB_ECLOSED
	}
	return C.int(d.link.send(view(data, n)))
}

//export wasmbedLinkRecv
func wasmbedLinkRecv(handle C.uintptr_t, buf unsafe.Pointer, size C.size_t) C.int {
	d := deviceOf(handle)
	if d.link == nil {
		return C.WB_ECLOSED
	}
	return C.int(d.link.recv(view(buf, size)))
}

//export wasmbedLinkClose
func wasmbedLinkClose(handle C.uintptr_t) { deviceOf(handle).closeLink() }

//export wasmbedIdentityCSR
func wasmbedIdentityCSR(handle C.uintptr_t, buf unsafe.Pointer, size C.size_t) C.int {
	d := deviceOf(handle)
	request, err := d.id.request()
	if err != nil {
		return d.failed("certificate request", err)
	}
	return answer(request, buf, size)
}

//export wasmbedIdentityEnrolled
func wasmbedIdentityEnrolled(handle C.uintptr_t) C.int {
	d := deviceOf(handle)
	if d.id.chain != nil && d.config.Now().Before(d.id.chain.Leaf.NotAfter) {
		return 1
	}
	return 0
}

//export wasmbedIdentityStore
func wasmbedIdentityStore(handle C.uintptr_t, chain *C.wb_bytes, count C.size_t) C.int {
	d := deviceOf(handle)
	var certificates [][]byte
	for _, c := range unsafe.Slice(chain, int(count)) {
		certificates = append(certificates, view(unsafe.Pointer(c.data), c.len))
	}
	if _, err := d.id.certificate(certificates); err != nil {
		d.log.Error("the certificate that the gateway sent", "error", err)
		return C.WB_EFORMAT
	}
	if err := d.id.store(certificates); err != nil {
		return d.failed("store certificate", err)
	}
	d.log.Info("certificate stored", "identity", d.id.chain.Leaf.URIs, "until", d.id.chain.Leaf.NotAfter)
	return C.WB_OK
}

//export wasmbedIdentityDrop
func wasmbedIdentityDrop(handle C.uintptr_t) C.int {
	d := deviceOf(handle)
	return d.failed("drop certificate", d.id.drop())
}

//export wasmbedIdentityKey
func wasmbedIdentityKey(handle C.uintptr_t, out unsafe.Pointer) C.int {
	d := deviceOf(handle)
	digest, err := d.id.fingerprint()
	if err != nil {
		return d.failed("key", err)
	}
	copy(view(out, C.WB_DIGEST_SIZE), digest[:])
	return C.WB_OK
}

//export wasmbedIdentityRenewAt
func wasmbedIdentityRenewAt(handle C.uintptr_t) C.uint64_t {
	return C.uint64_t(deviceOf(handle).id.renewAt())
}

//export wasmbedIdentitySign
func wasmbedIdentitySign(handle C.uintptr_t, tbs unsafe.Pointer, n C.size_t, sig unsafe.Pointer, size C.size_t) C.int {
	d := deviceOf(handle)
	signature, err := d.id.sign(view(tbs, n))
	if err != nil {
		return d.failed("sign", err)
	}
	return answer(signature, sig, size)
}

//export wasmbedBlobGet
func wasmbedBlobGet(handle C.uintptr_t, key C.uint16_t, buf unsafe.Pointer, size C.size_t) C.int {
	d := deviceOf(handle)
	b, err := d.dir.get(blobName(uint16(key)))
	if err != nil {
		return d.failed("read", err)
	}
	return answer(b, buf, size)
}

//export wasmbedBlobPut
func wasmbedBlobPut(handle C.uintptr_t, key C.uint16_t, data unsafe.Pointer, n C.size_t) C.int {
	d := deviceOf(handle)
	return d.failed("write", d.dir.put(blobName(uint16(key)), view(data, n)))
}

//export wasmbedBlobDelete
func wasmbedBlobDelete(handle C.uintptr_t, key C.uint16_t) C.int {
	d := deviceOf(handle)
	return d.failed("delete", d.dir.remove(blobName(uint16(key))))
}

//export wasmbedSlotErase
func wasmbedSlotErase(handle C.uintptr_t, app, slot C.uint8_t, offset, n C.uint32_t) C.int {
	d := deviceOf(handle)
	return d.failed("erase slot", d.dir.slotErase(uint8(app), uint8(slot), uint32(offset), uint32(n)))
}

//export wasmbedSlotWrite
func wasmbedSlotWrite(handle C.uintptr_t, app, slot C.uint8_t, offset C.uint32_t, data unsafe.Pointer, n C.uint32_t) C.int {
	d := deviceOf(handle)
	return d.failed("write slot", d.dir.slotWrite(uint8(app), uint8(slot), uint32(offset), view(data, C.size_t(n))))
}

//export wasmbedSlotRead
func wasmbedSlotRead(handle C.uintptr_t, app, slot C.uint8_t, offset C.uint32_t, buf unsafe.Pointer, n C.uint32_t) C.int {
	d := deviceOf(handle)
	return d.failed("read slot", d.dir.slotRead(uint8(app), uint8(slot), uint32(offset), view(buf, C.size_t(n))))
}

//export wasmbedSlotSync
func wasmbedSlotSync(handle C.uintptr_t, app, slot C.uint8_t) C.int {
	d := deviceOf(handle)
	return d.failed("sync slot", d.dir.slotSync(uint8(app), uint8(slot)))
}

//export wasmbedClockMS
func wasmbedClockMS(handle C.uintptr_t) C.int64_t {
	return C.int64_t(time.Since(deviceOf(handle).started).Milliseconds())
}

//export wasmbedEntropy
func wasmbedEntropy(_ C.uintptr_t, buf unsafe.Pointer, n C.size_t) C.int {
	fill(view(buf, n))
	return C.WB_OK
}

//export wasmbedSHA256Start
func wasmbedSHA256Start(handle C.uintptr_t) C.int {
	deviceOf(handle).digest = newDigest()
	return C.WB_OK
}

//export wasmbedSHA256Update
func wasmbedSHA256Update(handle C.uintptr_t, data unsafe.Pointer, n C.size_t) C.int {
	d := deviceOf(handle)
	if d.digest == nil {
		return C.WB_EINVAL
	}
	d.digest.Write(view(data, n))
	return C.WB_OK
}

//export wasmbedSHA256Finish
func wasmbedSHA256Finish(handle C.uintptr_t, out unsafe.Pointer) C.int {
	d := deviceOf(handle)
	if d.digest == nil {
		return C.WB_EINVAL
	}
	d.digest.Sum(view(out, C.WB_DIGEST_SIZE)[:0])
	d.digest = nil
	return C.WB_OK
}

//export wasmbedMemoryFree
func wasmbedMemoryFree(handle C.uintptr_t) C.uint32_t {
	d := deviceOf(handle)
	free := apps * int(d.config.ModuleMemory)
	for _, instance := range d.instances {
		if instance != nil {
			free -= instance.MemorySize()
		}
	}
	return C.uint32_t(max(free, 0))
}

//export wasmbedLog
func wasmbedLog(handle C.uintptr_t, level C.int, text *C.char, n C.size_t) {
	levels := map[C.int]slog.Level{C.WB_DEBUG: slog.LevelDebug, C.WB_WARNING: slog.LevelWarn, C.WB_ERROR: slog.LevelError}
	deviceOf(handle).log.Log(context.Background(), levels[level], string(view(unsafe.Pointer(text), n)))
}

//export wasmbedReboot
func wasmbedReboot(handle C.uintptr_t) { deviceOf(handle).reboot = true }

//export wasmbedGPIORead
func wasmbedGPIORead(handle C.uintptr_t, pin C.uint32_t) C.int {
	if pin >= pins {
		return C.WB_ENOENT
	}
	return C.int(deviceOf(handle).pins[pin])
}

//export wasmbedGPIOWrite
func wasmbedGPIOWrite(handle C.uintptr_t, pin, value C.uint32_t) C.int {
	if pin >= pins {
		return C.WB_ENOENT
	}
	deviceOf(handle).pins[pin] = min(uint32(value), 1)
	return C.WB_OK
}

//export wasmbedSensorRead
func wasmbedSensorRead(handle C.uintptr_t, id C.uint32_t, out *C.double) C.int {
	value, ok := deviceOf(handle).config.Sensor(uint32(id))
	if !ok {
		return C.WB_ENOENT
	}
	*out = C.double(value)
	return C.WB_OK
}
