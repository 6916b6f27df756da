// wasmbed.ts: the module ABI, version 1, for modules written in AssemblyScript. The contract is docs/spec/abi.md.
// Only what a module uses is imported, and only what it imports needs a permission in the manifest.

export enum Level {
  Debug = 1,
  Info = 2,
  Warning = 3,
  Error = 4,
}

// @ts-ignore: decorator
@external("wasmbed", "log")
declare function host_log(level: i32, text: usize, length: i32): void;
// @ts-ignore: decorator
@external("wasmbed", "telemetry")
declare function host_telemetry(name: usize, length: i32, value: f64): i32;
// @ts-ignore: decorator
@external("wasmbed", "clock_uptime")
declare function host_uptime(): i64;
// @ts-ignore: decorator
@external("wasmbed", "gpio_read")
declare function host_gpio_read(pin: i32): i32;
// @ts-ignore: decorator
@external("wasmbed", "gpio_write")
declare function host_gpio_write(pin: i32, level: i32): i32;
// @ts-ignore: decorator
@external("wasmbed", "sensor_read")
declare function host_sensor_read(sensor: i32, value: usize): i32;

// One buffer for all text that goes to the host, so that nothing is allocated after start: there is no collector
// in such a module (--runtime stub).
const room: i32 = 192;
const buffer: usize = memory.data(192);
const number: usize = memory.data(8, 8);

// Puts text into the buffer as UTF-8 and returns its length in bytes; what does not fit is left out.
function encode(text: string): i32 {
  const n = min(text.length, room / 3); // a UTF-16 unit is at most 3 bytes of UTF-8
  return <i32>String.UTF8.encodeUnsafe(changetype<usize>(text), n, buffer);
}

// Permission "log".
export function log(level: Level, text: string): void {
  const n = encode(text);
  host_log(level, buffer, n);
}

// Permission "telemetry": queues one value. 0, or a negative error.
export function measure(name: string, value: f64): i32 {
  const n = encode(name);
  return host_telemetry(buffer, n, value);
}

// Permission "clock": milliseconds since boot.
export function uptime(): i64 {
  return host_uptime();
}

// Permission "gpio": 0 or 1, or a negative error.
export function gpioRead(pin: i32): i32 {
  return host_gpio_read(pin);
}

// Permission "gpio": 0, or a negative error.
export function gpioWrite(pin: i32, level: i32): i32 {
  return host_gpio_write(pin, level);
}

// Permission "sensor": the sensor's value, NaN when it cannot be read.
export function sensor(id: i32): f64 {
  return host_sensor_read(id, number) < 0 ? NaN : load<f64>(number);
}
