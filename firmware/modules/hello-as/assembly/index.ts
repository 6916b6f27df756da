// hello-as: what hello is, in AssemblyScript.
// Permissions: log, telemetry. Wants one timer in its manifest.
import { Level, log, measure } from "./wasmbed";

let ticks: u32 = 0;

export function wasmbed_start(): i32 {
  log(Level.Info, "hello from AssemblyScript");
  return 0;
}

export function wasmbed_timer(_id: i32): i32 {
  ticks++;
  return measure("ticks", ticks);
}

export function wasmbed_stop(): void {
  log(Level.Info, "bye");
}
