package serial

import "time"

// Times and limits of the line; the device's are in firmware/port/zephyr/serial_line.h.
const (
	DialTimeout  = 5 * time.Second  // less than the device waits before it asks again (7 s)
	WriteTimeout = 10 * time.Second // for the gateway to take what the device sent

	unit        = 64       // bytes that one step of a window frame grants
	maxUpstream = 64 << 10 // bytes from the device that wait for the gateway
	maxDown     = 64 << 10 // bytes that wait for the port; windows keep it below 17 KiB
	readSize    = 4 << 10
)
