// The module ABI, version 1 (docs/spec/abi.md), on Node's WebAssembly.

import { randomFillSync } from 'node:crypto';

export const REASON = {
  Trap: 1, OutOfBounds: 2, StackOverflow: 3, Timeout: 4, DivideByZero: 6, TrapLoop: 7, DigestMismatch: 8, NotWasm: 9, MissingImport: 10,
  PermissionDenied: 11, InsufficientMemory: 12, ModuleTooLarge: 13, TransferTimeout: 16, NoEntryPoint: 17, Exit: 18, TooManyApps: 19,
  Unsupported: 20, UnknownApp: 21, DeadlineExceeded: 22, PowerLoss: 24,
};

// Fault is why a module is refused or ended.
export class Fault extends Error {
  constructor(reason, text) {
    super(text);
    this.reason = reason;
  }
}

// The permission of each host function of this device; it has no pins, sensors or messages.
const GROUP = { log: 'log', clock_now: 'clock', clock_uptime: 'clock', telemetry: 'telemetry', kv_get: 'kv', kv_set: 'kv', timer_set: 'timer', random: 'random', config_get: null };

export const PERMISSIONS = ['log', 'clock', 'telemetry', 'kv', 'timer', 'random'];

// check looks at a module before anything of it runs, and compiles it.
export function check(bytes, manifest) {
  if (manifest.instructions) throw new Fault(REASON.Unsupported, 'this device cannot count instructions');
  let module;
  try {
    module = new WebAssembly.Module(bytes);
  } catch (e) {
    throw new Fault(REASON.NotWasm, e.message);
  }
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
    if (from !== 'wasmbed' || kind !== 'function' || !(name in GROUP)) throw new Fault(REASON.MissingImport, `${from}.${name}`);
    if (GROUP[name] && !manifest.permissions.includes(GROUP[name])) throw new Fault(REASON.PermissionDenied, `${name} needs ${GROUP[name]}`);
  }
  const exported = WebAssembly.Module.exports(module);
  if (!exported.some((e) => e.name === 'wasmbed_start' && e.kind === 'function')) throw new Fault(REASON.NoEntryPoint, 'no wasmbed_start');
  if (initialPages(bytes) > manifest.memoryPages) throw new Fault(REASON.InsufficientMemory, `more than ${manifest.memoryPages} pages`);
  return module;
}

// initialPages reads the memory section (id 5) of a module that has been found valid.
function initialPages(bytes) {
  let i = 8;
  const leb = () => {
    let n = 0;
    for (let shift = 0; ; shift += 7) {
      n += (bytes[i] & 0x7f) * 2 ** shift;
      if (bytes[i++] < 0x80) return n;
    }
  };
  while (i < bytes.length) {
    const section = bytes[i++], size = leb(), end = i + size;
    if (section === 5 && leb() > 0) {
      i++; // limits' flags
      return leb();
    }
    i = end;
  }
  return 0;
}

// Instance is a module that runs. host has now, uptime, log, telemetry, timer, kv (a Map) and saveKV. Calls
// throw a Fault.
export class Instance {
  constructor(module, manifest, host) {
    this.manifest = manifest;
    this.host = host;
    this.exports = this.guarded('start section', () => new WebAssembly.Instance(module, { wasmbed: this.imports() }).exports);
  }

  start() { this.ended('wasmbed_start', this.call('wasmbed_start')); }

  timer(id) {
    if (this.exports.wasmbed_timer) this.ended('wasmbed_timer', this.call('wasmbed_timer', id));
  }

  stop() {
    if (this.exports.wasmbed_stop) this.call('wasmbed_stop');
  }

  ended(where, result) {
    if (result !== 0) throw Object.assign(new Fault(REASON.Exit, `${where} returned ${result}`), { where });
  }

  call(name, ...args) { return this.guarded(name, () => this.exports[name](...args)); }

  // guarded turns what the engine throws into a Fault, and looks at the clock.
  guarded(where, f) {
    const began = performance.now();
    try {
      const result = f();
      if (performance.now() - began > this.manifest.callTimeout) throw new Fault(REASON.Timeout, 'too slow');
      return result;
    } catch (e) {
      throw Object.assign(e instanceof Fault ? e : new Fault(reasonOf(e), e.message), { where });
    }
  }

  range(ptr, len) {
    const memory = this.exports?.memory?.buffer;
    ptr >>>= 0;
    len >>>= 0;
    if (len === 0) return Buffer.alloc(0);
    if (!memory || ptr + len > memory.byteLength) throw new Fault(REASON.OutOfBounds, 'a range outside the memory');
    return Buffer.from(memory, ptr, len);
  }

  text(ptr, len) { return this.range(ptr, len).toString('utf8'); }

  give(value, ptr, len) {
    if (value === undefined) return -3;
    value.copy(this.range(ptr, len), 0, 0, len);
    return value.length;
  }

  imports() {
    const { host } = this;
    return {
      log: (level, ptr, len) => host.log(level >= 1 && level <= 4 ? level : 2, this.text(ptr, Math.min(len >>> 0, 200))),
      clock_now: () => BigInt(host.now()),
      clock_uptime: () => BigInt(host.uptime()),
      telemetry: (ptr, len, value) => {
        const name = this.text(ptr, len);
        if (len < 1 || len > 63) return -1;
        host.telemetry(name, value);
        return 0;
      },
      kv_get: (key, keyLen, ptr, len) => this.give(host.kv.get(this.text(key, keyLen)), ptr, len),
      kv_set: (key, keyLen, ptr, len) => {
        if (keyLen < 1 || keyLen > 63) return -1;
        const value = Buffer.from(this.range(ptr, len));
        if (value.length > 1024) return -2;
        if (value.length) host.kv.set(this.text(key, keyLen), value);
        else host.kv.delete(this.text(key, keyLen));
        host.saveKV();
        return 0;
      },
      timer_set: (id, period) => host.timer(id, period),
      random: (ptr, len) => {
        randomFillSync(this.range(ptr, len));
      },
      config_get: (key, keyLen, ptr, len) => {
        const value = this.manifest.config[this.text(key, keyLen)];
        return this.give(value === undefined ? undefined : Buffer.from(value, 'utf8'), ptr, len);
      },
    };
  }
}

function reasonOf(e) {
  if (e instanceof RangeError) return REASON.StackOverflow;
  if (/memory access|table index|out of bounds/.test(e.message)) return REASON.OutOfBounds;
  if (/divide|remainder/.test(e.message)) return REASON.DivideByZero;
  return REASON.Trap;
}
