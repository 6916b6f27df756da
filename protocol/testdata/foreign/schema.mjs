// The messages of wasmbed/1 as tables (SPEC §5), and what reads and writes by them.
//
// A message is a plain object with `type` (number) and the fields' names of the SPEC.

import { Float, WireError, decode, encode } from './cbor.mjs';

const schemaError = (text) => new WireError('schema', 3, text);

const U8 = 255, U32 = 2 ** 32 - 1, U64 = 2n ** 64n - 1n;
const MODULE = 1 << 24;

// A kind checks a decoded CBOR value and makes it the field's value; back makes CBOR of it again.
const uint = (least, most) => ({
  zero: 0,
  read(v) {
    if ((typeof v !== 'number' && typeof v !== 'bigint') || v < 0) throw schemaError('not an unsigned integer');
    return v;
  },
  ok: (v) => v >= least && v <= most,
  isZero: (v) => v === 0,
});
const bool = {
  zero: false,
  read(v) {
    if (typeof v !== 'boolean') throw schemaError('not a boolean');
    return v;
  },
  ok: () => true,
  isZero: (v) => v === false,
};
const text = (least, most) => ({
  zero: '',
  read(v) {
    if (typeof v !== 'string') throw schemaError('not a text');
    return v;
  },
  ok: (v) => Buffer.byteLength(v) >= least && Buffer.byteLength(v) <= most,
  isZero: (v) => v === '',
});
const isName = (v) => /^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$/.test(v);
const name = (most) => ({ ...text(1, most), ok: (v) => isName(v) && v.length <= most });
const bytes = (least, most = least) => ({
  zero: Buffer.alloc(0),
  read(v) {
    if (!Buffer.isBuffer(v)) throw schemaError('not a byte string');
    return v;
  },
  ok: (v) => v.length >= least && v.length <= most,
  isZero: (v) => v.length === 0,
});
const list = (kind, least, most) => ({
  of: kind,
  zero: [],
  read(v) {
    if (!Array.isArray(v)) throw schemaError('not an array');
    if (v.length > most) throw schemaError('too many elements');
    return v.map((e) => checked(kind, e));
  },
  ok: (v) => v.length >= least && v.length <= most,
  isZero: (v) => v.length === 0,
  back: (v) => v.map((e) => back(kind, e)),
});
const struct = (fields, rule = () => {}) => ({
  fields,
  zero: null,
  read(v) {
    const m = readFields(v, fields);
    rule(m);
    return m;
  },
  ok: () => true,
  isZero: (v) => v === null || v === undefined,
  back: (v) => new Map(pairs(v, fields)),
});
const table = (key, value, most) => ({
  values: value,
  zero: {},
  read(v) {
    if (!(v instanceof Map)) throw schemaError('not a map');
    if (v.size > most) throw schemaError('too many entries');
    const out = Object.create(null);
    for (const [k, e] of v) out[checked(key, k)] = checked(value, e);
    return out;
  },
  ok: () => true,
  isZero: (v) => Object.keys(v).length === 0,
  back: (v) => new Map(Object.entries(v).map(([k, e]) => [k, back(value, e)])),
});
const float = {
  read(v) {
    if (!(v instanceof Float)) throw schemaError('not a float');
    return v.value;
  },
  ok: Number.isFinite,
  back: (v) => new Float(v),
};
const record = (...kinds) => ({
  read(v) {
    if (!Array.isArray(v) || v.length !== kinds.length) throw schemaError('not a record');
    return v.map((e, i) => checked(kinds[i], e));
  },
  ok: () => true,
  back: (v) => v.map((e, i) => back(kinds[i], e)),
});

function checked(kind, raw) {
  const v = kind.read(raw);
  if (!kind.ok(v)) throw schemaError(`out of range: ${String(v).slice(0, 40)}`);
  return v;
}

const back = (kind, v) => (kind.back ? kind.back(v) : v);

// f is a required field, o an optional one: [key, name, kind, required].
const f = (key, label, kind) => [key, label, kind, true];
const o = (key, label, kind) => [key, label, kind, false];

function readFields(map, fields) {
  if (!(map instanceof Map)) throw schemaError('not a map');
  for (const k of map.keys()) {
    if (typeof k !== 'number' && typeof k !== 'bigint') throw schemaError('a key is not an integer');
  }
  const out = {};
  for (const [key, label, kind, required] of fields) {
    if (!map.has(key)) {
      if (required) throw schemaError(`${label} is missing`);
      out[label] = kind.zero;
      continue;
    }
    const v = kind.read(map.get(key));
    if (!kind.ok(v) && (required || !kind.isZero(v))) throw schemaError(`${label} is out of range`);
    out[label] = v;
  }
  return out;
}

function pairs(m, fields) {
  const out = [];
  for (const [key, label, kind, required] of fields) {
    const v = m[label] ?? kind.zero;
    if (!required && kind.isZero(v)) continue;
    if (!kind.ok(v)) throw schemaError(`${label} is out of range`);
    out.push([key, back(kind, v)]);
  }
  return out;
}

const demand = (ok, what) => {
  if (!ok) throw schemaError(what);
};

const id = f(1, 'id', uint(1, U64)), refers = f(2, 'refers', uint(1, U64)), mayRefer = o(2, 'refers', uint(1, U64));
const APP = name(63), REVISION = name(80), HUMAN = text(0, 256), DIGEST = bytes(32), EIGHT = bytes(8), REASON = uint(0, U8);
const NUMBER = uint(0, U64), MS = uint(0, U32), PAYLOAD = bytes(1, 16384), CAP = uint(2048, 65536), GROUPS = list(text(1, 32), 0, 16);

const capabilities = struct([f(1, 'moduleMemory', MS), f(2, 'moduleSize', MS), f(3, 'chunk', uint(64, 32768)), f(4, 'frame', CAP),
  f(5, 'apps', uint(1, 16)), f(6, 'abi', uint(1, U8)), o(7, 'permissions', GROUPS)]);
const evidence = struct([f(1, 'format', uint(1, U8)), f(2, 'nonce', bytes(32)), f(3, 'measurement', DIGEST), f(4, 'signature', bytes(1, 512))]);
const timer = struct([f(1, 'id', MS), f(2, 'period', uint(1, U32))]);
const manifest = struct([f(1, 'memoryPages', uint(0, 1024)), f(2, 'stack', MS), f(3, 'callTimeout', uint(1, U32)), o(4, 'instructions', NUMBER),
  o(5, 'permissions', GROUPS), o(6, 'config', table(text(1, 64), text(0, 256), 32)), o(7, 'timers', list(timer, 0, 8)), f(8, 'healthWindow', MS),
  f(9, 'maxTraps', uint(1, U32)), f(10, 'trapPeriod', uint(1, U32)), o(11, 'signature', bytes(1, 512)), o(12, 'sequence', NUMBER)]);
const appState = struct([f(1, 'state', uint(1, 8)), f(2, 'revision', REVISION), o(3, 'attempt', NUMBER), o(4, 'running', REVISION), o(5, 'confirmed', bool),
  o(6, 'reason', REASON), o(7, 'text', HUMAN), o(8, 'restarts', MS), o(9, 'progress', MS), o(10, 'traps', MS)], (s) => {
  const [RUNNING, STOPPED, FAILED, ROLLED_BACK] = [4, 6, 7, 8];
  demand(s.state !== RUNNING || s.running === s.revision, 'running another revision');
  demand(!s.confirmed || s.state === RUNNING, 'confirmed, but not running');
  demand(s.state !== STOPPED || !s.running, 'stopped, but running');
  demand(s.state !== FAILED || (s.reason && !s.running), 'failed without a reason, or running');
  demand(s.state !== ROLLED_BACK || (s.reason && s.running), 'rolled back without a reason, or to nothing');
});
const telemetryRecord = record(NUMBER, APP, text(1, 64), float);
const logRecord = record(NUMBER, { ...text(0, 63), ok: (v) => v === '' || (isName(v) && v.length <= 63) }, uint(1, 4), text(0, 256));
const seq = f(2, 'seq', uint(1, U64));

const MESSAGES = {
  1: ['hello', [id, f(2, 'versions', bytes(1, 8)), o(3, 'features', NUMBER), f(4, 'bootId', EIGHT), f(5, 'board', text(1, 32)), f(6, 'firmware', text(1, 64)),
    f(7, 'capabilities', capabilities), o(8, 'era', EIGHT), o(9, 'seenDesired', NUMBER), o(10, 'stateDigest', EIGHT)],
  (m) => demand(m.versions.every((v, i) => i === 0 || v > m.versions[i - 1]), 'versions are not ascending')],
  2: ['welcome', [id, refers, f(3, 'version', uint(1, U8)), o(4, 'features', NUMBER), f(5, 'time', uint(1, U64)), f(6, 'heartbeat', uint(100, 3600000)),
    o(7, 'epoch', NUMBER), o(8, 'era', EIGHT), f(9, 'frame', CAP), o(10, 'nonce', bytes(32)), f(11, 'enrolled', bool), o(12, 'renewBefore', NUMBER)],
  (m) => demand(m.enrolled ? m.epoch && m.era.length : m.nonce.length, 'a welcome without epoch and era, or without nonce')],
  3: ['error', [id, mayRefer, f(3, 'code', uint(1, U8)), o(4, 'text', HUMAN)]],
  4: ['goodbye', [id, f(2, 'reason', uint(1, U8)), o(3, 'retryAfter', MS), o(4, 'text', HUMAN)]],
  5: ['enroll', [id, f(2, 'csr', bytes(1, 2048)), o(3, 'name', APP), o(4, 'claim', bytes(1, 64)), o(5, 'evidence', evidence)]],
  6: ['enroll-result', [id, refers, f(3, 'status', uint(1, 3)), o(4, 'chain', list(bytes(1, 4096), 0, 4)), o(5, 'reason', REASON), o(6, 'retryAfter', MS), o(7, 'text', HUMAN)],
    (m) => {
      demand((m.status === 1) === (m.chain.length > 0), 'a chain goes with Accepted, and only with it');
      demand(m.status !== 3 || m.reason, 'rejected without a reason');
    }],
  7: ['renew', [id, f(2, 'csr', bytes(1, 2048))]],
  10: ['heartbeat', [id, f(2, 'uptime', NUMBER), f(3, 'freeMemory', MS), f(4, 'stateDigest', EIGHT), o(5, 'queued', MS), o(6, 'dropped', MS)]],
  11: ['heartbeat-ack', [id, refers, f(3, 'time', uint(1, U64))]],
  12: ['ack', [id, refers]],
  20: ['command', [id, f(2, 'command', EIGHT), f(3, 'verb', uint(1, U8)), o(4, 'app', APP), o(5, 'revision', REVISION), o(6, 'attempt', NUMBER), o(7, 'digest', DIGEST),
    o(8, 'size', uint(1, MODULE)), o(9, 'manifest', manifest), o(10, 'era', EIGHT), o(11, 'desired', NUMBER), o(12, 'deadline', MS)],
  (m) => {
    const whole = m.revision && m.attempt && m.digest.length && m.size && m.manifest;
    if ([1, 2, 6].includes(m.verb)) demand(m.app && whole, 'the verb needs app and the whole');
    if ([3, 4, 5].includes(m.verb)) demand(m.app && (whole || !(m.digest.length || m.size || m.manifest)), 'the verb needs app, and all or nothing of the whole');
  }],
  21: ['command-result', [id, mayRefer, f(3, 'command', EIGHT), f(4, 'status', uint(1, 4)), o(5, 'reason', REASON), o(6, 'text', HUMAN)],
    (m) => demand(m.status < 3 || m.reason, 'refused or failed without a reason')],
  22: ['chunk-request', [id, f(2, 'digest', DIGEST), f(3, 'offset', uint(0, MODULE)), f(4, 'length', uint(1, 32768))]],
  23: ['chunk', [id, refers, f(3, 'digest', DIGEST), f(4, 'offset', uint(0, MODULE)), f(5, 'data', bytes(1, 32768)), f(6, 'total', uint(1, MODULE))],
    (m) => demand(m.offset + m.data.length <= m.total, 'the chunk ends behind the module')],
  30: ['report', [id, f(2, 'version', uint(1, U64)), f(3, 'full', bool), o(4, 'era', EIGHT), o(5, 'seenDesired', NUMBER), o(6, 'apps', table(APP, appState, 16)),
    o(7, 'removed', list(APP, 0, 16)), f(8, 'stateDigest', EIGHT)],
  (m) => demand(!m.full || !m.removed.length, 'removed in a full report')],
  31: ['report-request', [id]],
  32: ['trap', [id, seq, f(3, 'app', APP), f(4, 'revision', REVISION), f(5, 'reason', uint(1, U8)), o(6, 'where', text(0, 128)), o(7, 'text', HUMAN)]],
  40: ['telemetry', [id, seq, f(3, 'records', list(telemetryRecord, 1, 256))]],
  41: ['logs', [id, seq, f(3, 'records', list(logRecord, 1, 256))]],
  50: ['invoke', [id, f(2, 'command', EIGHT), f(3, 'app', APP), f(4, 'function', text(1, 64)), o(5, 'payload', PAYLOAD), f(6, 'deadline', uint(1, U32))]],
  51: ['invoke-result', [id, refers, f(3, 'command', EIGHT), f(4, 'status', uint(2, 4)), o(5, 'reason', REASON), o(6, 'payload', PAYLOAD), o(7, 'text', HUMAN)],
    (m) => demand(m.status < 3 || m.reason, 'refused or failed without a reason')],
  52: ['message-down', [id, f(2, 'app', APP), f(3, 'topic', text(1, 128)), o(4, 'payload', PAYLOAD)]],
  53: ['message-up', [id, f(2, 'app', APP), f(3, 'topic', text(1, 128)), o(4, 'payload', PAYLOAD), f(5, 'seq', uint(1, U64))]],
};

export const typeName = (type) => MESSAGES[type]?.[0] ?? `type ${type}`;
export const fieldsOf = (type) => MESSAGES[type][1];

// TYPE is the number of a name.
export const TYPE = Object.fromEntries(Object.entries(MESSAGES).map(([n, [label]]) => [label, Number(n)]));

// readMessage decodes a body. What it throws is a WireError; its `refers` is the id, when that could be read.
export function readMessage(body) {
  const map = decode(body);
  let id;
  try {
    demand(map instanceof Map, 'not a map');
    demand(map.has(0), 'no type');
    const type = checked(uint(1, U64), map.get(0));
    if (map.has(1) && typeof map.get(1) !== 'string') id = map.get(1);
    const found = MESSAGES[type];
    if (!found) throw new WireError('schema', 4, `unknown type ${type}`);
    const [, fields, rule] = found;
    const m = readFields(map, fields);
    rule?.(m);
    return { type: Number(type), ...m };
  } catch (e) {
    if (Number.isSafeInteger(id) && id > 0) e.refers = id;
    throw e;
  }
}

// writeFrame encodes a message with its header.
export function writeFrame(m) {
  const body = encode(new Map([[0, m.type], ...pairs(m, MESSAGES[m.type][1])]));
  const frame = Buffer.alloc(4 + body.length);
  frame.writeUInt32BE(body.length, 0);
  body.copy(frame, 4);
  return frame;
}

// Frames cuts a stream into bodies. The length is checked before the body is looked at.
export class Frames {
  constructor(cap) {
    this.cap = cap;
    this.rest = Buffer.alloc(0);
  }

  // push takes bytes and gives the bodies that are whole now.
  *push(chunk) {
    this.rest = this.rest.length ? Buffer.concat([this.rest, chunk]) : chunk;
    while (this.rest.length >= 4) {
      const n = this.rest.readUInt32BE(0);
      if (n === 0 || n > this.cap) throw new WireError('frame', 1, `a frame of ${n} bytes`);
      if (this.rest.length < 4 + n) return;
      const body = this.rest.subarray(4, 4 + n);
      this.rest = this.rest.subarray(4 + n);
      yield body;
    }
  }

  end() {
    if (this.rest.length) throw new WireError('frame', 1, 'the stream ends inside a frame');
  }
}
