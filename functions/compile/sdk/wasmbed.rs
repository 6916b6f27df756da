// wasmbed.rs: the module ABI, version 1, for modules written in Rust (no_std). The contract is docs/spec/abi.md.
// Only what a module uses is imported, and only what it imports needs a permission in the manifest.
//
//     #![no_std]
//     mod wasmbed;
//
//     #[no_mangle]
//     pub extern "C" fn wasmbed_start() -> i32 {
//         wasmbed::log(wasmbed::INFO, "hello");
//         0
//     }
#![allow(dead_code)]

pub const DEBUG: i32 = 1;
pub const INFO: i32 = 2;
pub const WARNING: i32 = 3;
pub const ERROR: i32 = 4;

mod host {
    #[link(wasm_import_module = "wasmbed")]
    extern "C" {
        pub fn log(level: i32, text: *const u8, len: usize);
        pub fn clock_now() -> i64;
        pub fn clock_uptime() -> i64;
        pub fn telemetry(name: *const u8, len: usize, value: f64) -> i32;
        pub fn message_send(topic: *const u8, topic_len: usize, data: *const u8, len: usize) -> i32;
        pub fn kv_get(key: *const u8, key_len: usize, buf: *mut u8, len: usize) -> i32;
        pub fn kv_set(key: *const u8, key_len: usize, value: *const u8, len: usize) -> i32;
        pub fn gpio_read(pin: u32) -> i32;
        pub fn gpio_write(pin: u32, level: u32) -> i32;
        pub fn sensor_read(sensor: u32, value: *mut f64) -> i32;
    }
}

/// Permission "log".
pub fn log(level: i32, text: &str) {
    unsafe { host::log(level, text.as_ptr(), text.len()) }
}

/// Permission "clock": Unix milliseconds, 0 while the device does not know the time.
pub fn now() -> i64 {
    unsafe { host::clock_now() }
}

/// Permission "clock": milliseconds since boot.
pub fn uptime() -> i64 {
    unsafe { host::clock_uptime() }
}

/// Permission "telemetry": queues one value. 0, or a negative error.
pub fn measure(name: &str, value: f64) -> i32 {
    unsafe { host::telemetry(name.as_ptr(), name.len(), value) }
}

/// Permission "message": queues one message to the platform. 0, or a negative error.
pub fn send(topic: &str, data: &[u8]) -> i32 {
    unsafe { host::message_send(topic.as_ptr(), topic.len(), data.as_ptr(), data.len()) }
}

/// Permission "kv": the value's length, of which at most buf.len() bytes were copied; or a negative error.
pub fn get(key: &str, buf: &mut [u8]) -> i32 {
    unsafe { host::kv_get(key.as_ptr(), key.len(), buf.as_mut_ptr(), buf.len()) }
}

/// Permission "kv": 0, or a negative error. An empty value deletes.
pub fn set(key: &str, value: &[u8]) -> i32 {
    unsafe { host::kv_set(key.as_ptr(), key.len(), value.as_ptr(), value.len()) }
}

/// Permission "gpio": 0 or 1, or a negative error.
pub fn gpio_read(pin: u32) -> i32 {
    unsafe { host::gpio_read(pin) }
}

/// Permission "gpio": 0, or a negative error.
pub fn gpio_write(pin: u32, level: u32) -> i32 {
    unsafe { host::gpio_write(pin, level) }
}

/// Permission "sensor": the sensor's value, or a negative error.
pub fn sensor(id: u32) -> Result<f64, i32> {
    let mut v = 0.0;
    match unsafe { host::sensor_read(id, &mut v) } {
        e if e < 0 => Err(e),
        _ => Ok(v),
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}
