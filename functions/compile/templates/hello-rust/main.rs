#![no_std]
mod wasmbed;

static mut TICKS: u32 = 0;

#[no_mangle]
pub extern "C" fn wasmbed_start() -> i32 {
    wasmbed::log(wasmbed::INFO, "hello");
    0
}

#[no_mangle]
pub extern "C" fn wasmbed_timer(_id: i32) -> i32 {
    // One call at a time: nothing else touches it.
    let ticks = unsafe {
        TICKS += 1;
        TICKS
    };
    wasmbed::measure("ticks", ticks as f64)
}
