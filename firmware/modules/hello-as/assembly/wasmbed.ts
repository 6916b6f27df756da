// The host functions of ABI 1 that this module uses; the whole table is docs/spec/abi.md.

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

// One buffer for all text that goes to the host, so that nothing is allocated after start: there is no
// collector in this module (--runtime stub).
const room: i32 = 128;
const buffer: usize = memory.data(128);

// Puts text into the buffer as UTF-8 and returns its length in bytes; what does not fit is left out.
function encode(text: string): i32 {
  const max = room / 3; // a UTF-16 unit is at most 3 bytes of UTF-8
  const n = min(text.length, max);
  return <i32>String.UTF8.encodeUnsafe(changetype<usize>(text), n, buffer);
}

export function log(level: Level, text: string): void {
  const n = encode(text);
  host_log(level, buffer, n);
}

export function measure(name: string, value: f64): i32 {
  const n = encode(name);
  return host_telemetry(buffer, n, value);
}
