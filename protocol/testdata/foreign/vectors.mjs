// Reads protocol/vectors with this codec: node vectors.mjs DIR. Prints how many, or the first difference.

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Frames, fieldsOf, readMessage, writeFrame } from './schema.mjs';

const KEYS = ['name', 'comment', 'expect', 'code', 'direction', 'type', 'cap', 'hex', 'reencode', 'json', 'receiver', 'step'];

function parse(text) {
  const v = { step: [], cap: '65536' };
  for (const line of text.split('\n')) {
    if (line === '' || line[0] === '#') continue;
    const at = line.indexOf(': ');
    const key = line.slice(0, at), value = line.slice(at + 2);
    if (!KEYS.includes(key)) throw new Error(`unknown key ${key}`);
    if (key === 'step') v.step.push(value);
    else v[key] = value;
  }
  return v;
}

// takeOne gives the one message of a stream.
function takeOne(stream, cap) {
  const frames = new Frames(cap);
  const all = [...frames.push(stream)];
  frames.end();
  if (all.length !== 1) throw new Error(`${all.length} frames`);
  return readMessage(all[0]);
}

// render writes a message like the vectors' json.
function render(m) {
  return `{"type":${m.type}${shownFields(m, fieldsOf(m.type)).map((s) => `,${s}`).join('')}}`;
}

function shownFields(m, fields) {
  return fields.filter(([, label, kind, required]) => required || !kind.isZero(m[label])).map(([, label, kind]) => `"${label}":${shown(kind, m[label])}`);
}

function shown(kind, v) {
  if (Buffer.isBuffer(v)) return `"${v.toString('hex')}"`;
  if (kind.fields) return `{${shownFields(v, kind.fields).join(',')}}`;
  if (kind.values) {
    const keys = Object.keys(v).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    return `{${keys.map((k) => `${JSON.stringify(k)}:${shown(kind.values, v[k])}`).join(',')}}`;
  }
  if (Array.isArray(v)) return `[${v.map((e) => shown(kind.of ?? {}, e)).join(',')}]`;
  if (Object.is(v, -0)) return '-0';
  return typeof v === 'bigint' ? v.toString() : JSON.stringify(v);
}

// Which types a side sends, and what it may say when (SPEC §8).
const BOTH = [3, 4], DEVICE = [1, 5, 7, 10, 21, 22, 30, 32, 40, 41, 51, 53], GATEWAY = [2, 6, 11, 12, 20, 23, 31, 50, 52];

function judge(receiver, phase, type) {
  if (BOTH.includes(type)) return null;
  const sends = receiver === 'gateway' ? DEVICE : GATEWAY;
  if (!sends.includes(type) || phase === 'closing') return 'state';
  if (receiver === 'gateway') {
    if (phase === 'hello') return type === 1 ? null : 'state';
    if (phase === 'first') return type === 5 ? null : type === 1 ? 'state' : 'auth';
    return type === 1 || type === 5 ? 'state' : null;
  }
  if (phase === 'hello') return type === 2 ? null : 'state';
  if (phase === 'first') return type === 6 ? null : 'state';
  return type === 2 ? 'state' : null;
}

function runOne(v) {
  const stream = Buffer.from(v.hex, 'hex');
  if (v.expect !== 'ok') return refusal(v, () => takeOne(stream, Number(v.cap)));
  const m = takeOne(stream, Number(v.cap));
  if (m.type !== Number(v.type)) throw new Error(`type ${m.type}`);
  if (render(m) !== v.json) throw new Error(`\n got ${render(m)}\nwant ${v.json}`);
  const again = writeFrame(m).toString('hex');
  if (again !== (v.reencode === 'same' ? v.hex : v.reencode)) throw new Error(`encodes to ${again}`);
}

function refusal(v, f) {
  let got;
  try {
    f();
  } catch (e) {
    got = e;
  }
  if (!got?.layer || got.layer !== v.expect || got.code !== Number(v.code)) throw new Error(`want ${v.expect} ${v.code}, got ${got?.layer} ${got?.code} ${got?.stack}`);
}

function runScenario(v) {
  let phase = 'hello', cap = v.receiver === 'gateway' ? 4096 : 2048;
  const take = (step) => {
    const [way, hex] = step.split(' ');
    const m = takeOne(Buffer.from(hex, 'hex'), cap);
    if ((way === 'd2g') === (v.receiver === 'gateway')) {
      const layer = judge(v.receiver, phase, m.type);
      if (layer) throw Object.assign(new Error(layer), { layer, code: layer === 'auth' ? 6 : 5 });
    }
    if (m.type === 1 && v.receiver === 'device') cap = m.capabilities.frame;
    if (m.type === 2) {
      phase = m.enrolled ? 'enrolled' : 'first';
      if (m.enrolled && v.receiver === 'gateway') cap = m.frame;
    }
    if (m.type === 4) phase = 'closing';
  };
  const last = v.expect === 'ok' ? null : v.step.pop();
  v.step.forEach(take);
  if (last) refusal(v, () => take(last));
}

const dir = process.argv[2];
const files = readdirSync(dir).filter((f) => f.endsWith('.txt'));
if (files.length < 80) throw new Error(`${files.length} vectors in ${dir}`);
for (const file of files) {
  const v = parse(readFileSync(join(dir, file), 'utf8'));
  try {
    if (v.step.length) runScenario(v);
    else runOne(v);
  } catch (e) {
    console.error(`${file}: ${e.message}`);
    process.exit(1);
  }
}
console.log(`${files.length} vectors`);
