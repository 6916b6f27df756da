import { Level, log, measure } from "./wasmbed";

let ticks: u32 = 0;

export function wasmbed_start(): i32 {
  log(Level.Info, "hello");
  return 0;
}

export function wasmbed_timer(_id: i32): i32 {
  ticks++;
  return measure("ticks", ticks);
}
