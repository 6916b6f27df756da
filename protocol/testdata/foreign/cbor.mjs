// Core deterministic CBOR, the part that wasmbed/1 uses (SPEC §4).
//
// Integers are numbers, or BigInts above 2^53. Byte strings are Buffers, texts strings, arrays Arrays, maps
// Maps in their order. A float is a Float, so that 1.0 and 1 stay apart.

export class Float {
  constructor(value) { this.value = value; }
}

export class WireError extends Error {
  constructor(layer, code, text) {
    super(text);
    this.layer = layer;
    this.code = code;
  }
}

export const cborError = (text) => new WireError('cbor', 2, text);

const MAX_DEPTH = 8, MAX_ARRAY = 1024, MAX_MAP = 64;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

// decode reads one data item that fills the whole buffer.
export function decode(buf) {
  const d = new Decoder(buf);
  const value = d.item(0);
  if (d.i !== buf.length) throw cborError(`${buf.length - d.i} bytes behind the item`);
  return value;
}

class Decoder {
  constructor(buf) {
    this.b = buf;
    this.i = 0;
  }

  take(n) {
    if (n > this.b.length - this.i) throw cborError('truncated');
    this.i += n;
    return this.b.subarray(this.i - n, this.i);
  }

  item(depth) {
    const first = this.take(1)[0];
    const major = first >> 5, info = first & 31;
    if (major === 7) return this.simple(first);
    if (major === 6) throw cborError('a tag');
    const n = this.argument(info);
    switch (major) {
      case 0: return n;
      case 1: return typeof n === 'bigint' ? -1n - n : -1 - n;
      case 2: return Buffer.from(this.take(this.length(n)));
      case 3: return this.text(n);
      case 4: return this.array(n, depth + 1);
      default: return this.map(n, depth + 1);
    }
  }

  argument(info) {
    if (info < 24) return info;
    if (info === 31) throw cborError('indefinite length');
    if (info > 27) throw cborError('reserved additional information');
    const bytes = this.take(1 << (info - 24));
    switch (info) {
      case 24: return this.shortest(bytes[0], 24);
      case 25: return this.shortest(bytes.readUInt16BE(0), 0x100);
      case 26: return this.shortest(bytes.readUInt32BE(0), 0x10000);
    }
    const n = bytes.readBigUInt64BE(0);
    if (n < 0x100000000n) throw cborError('not the shortest form');
    return n <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(n) : n;
  }

  shortest(n, least) {
    if (n < least) throw cborError('not the shortest form');
    return n;
  }

  length(n) {
    if (typeof n === 'bigint' || n > this.b.length - this.i) throw cborError('truncated');
    return n;
  }

  text(n) {
    const bytes = this.take(this.length(n));
    try {
      return utf8.decode(bytes);
    } catch {
      throw cborError('not UTF-8');
    }
  }

  array(n, depth) {
    if (depth > MAX_DEPTH) throw cborError('nested too deep');
    if (n > MAX_ARRAY) throw cborError('array too long');
    const out = [];
    for (let k = 0; k < n; k++) out.push(this.item(depth));
    return out;
  }

  map(n, depth) {
    if (depth > MAX_DEPTH) throw cborError('nested too deep');
    if (n > MAX_MAP) throw cborError('map too large');
    const out = new Map();
    let before = null;
    for (let k = 0; k < n; k++) {
      const from = this.i;
      const key = this.item(depth);
      const bytes = this.b.subarray(from, this.i);
      if (before !== null && Buffer.compare(before, bytes) >= 0) throw cborError('keys not sorted or not unique');
      before = bytes;
      out.set(key, this.item(depth));
    }
    return out;
  }

  simple(first) {
    switch (first) {
      case 0xf4: return false;
      case 0xf5: return true;
      case 0xf9: return this.float(this.take(2));
      case 0xfa: return this.float(this.take(4));
      case 0xfb: return this.float(this.take(8));
    }
    throw cborError(`simple value ${first.toString(16)}`);
  }

  float(bytes) {
    const value = bytes.length === 2 ? fromHalf(bytes.readUInt16BE(0)) : bytes.length === 4 ? bytes.readFloatBE(0) : bytes.readDoubleBE(0);
    if (!encodeFloat(value).subarray(1).equals(bytes)) throw cborError('float not in its shortest form');
    return new Float(value);
  }
}

// encode writes a value; map keys are sorted here.
export function encode(value) {
  switch (typeof value) {
    case 'boolean': return Buffer.of(value ? 0xf5 : 0xf4);
    case 'number':
    case 'bigint': return head(0, value);
    case 'string': {
      const bytes = Buffer.from(value, 'utf8');
      return Buffer.concat([head(3, bytes.length), bytes]);
    }
  }
  if (value instanceof Float) return encodeFloat(value.value);
  if (Buffer.isBuffer(value)) return Buffer.concat([head(2, value.length), value]);
  if (Array.isArray(value)) return Buffer.concat([head(4, value.length), ...value.map(encode)]);
  const pairs = [...value].map(([k, v]) => [encode(k), encode(v)]).sort(([a], [b]) => Buffer.compare(a, b));
  return Buffer.concat([head(5, pairs.length), ...pairs.flat()]);
}

function head(major, n) {
  const m = major << 5;
  if (n < 24) return Buffer.of(m | Number(n));
  let out;
  if (n < 0x100) {
    out = Buffer.of(m | 24, Number(n));
  } else if (n < 0x10000) {
    out = Buffer.alloc(3, m | 25);
    out.writeUInt16BE(Number(n), 1);
  } else if (n < 0x100000000) {
    out = Buffer.alloc(5, m | 26);
    out.writeUInt32BE(Number(n), 1);
  } else {
    out = Buffer.alloc(9, m | 27);
    out.writeBigUInt64BE(BigInt(n), 1);
  }
  return out;
}

function encodeFloat(value) {
  const half = toHalf(value);
  if (half !== null) {
    const out = Buffer.alloc(3, 0xf9);
    out.writeUInt16BE(half, 1);
    return out;
  }
  if (Math.fround(value) === value) {
    const out = Buffer.alloc(5, 0xfa);
    out.writeFloatBE(value, 1);
    return out;
  }
  const out = Buffer.alloc(9, 0xfb);
  out.writeDoubleBE(value, 1);
  return out;
}

// toHalf returns the 16 bits that hold the value exactly, or null.
function toHalf(value) {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size === Infinity) return sign | 0x7c00;
  if (size > 65504) return null;
  if (size < 2 ** -14) { // zero and subnormals: a multiple of 2^-24
    const m = size * 2 ** 24;
    return Number.isInteger(m) ? sign | m : null;
  }
  let exponent = Math.floor(Math.log2(size));
  while (2 ** exponent > size) exponent--; // log2 rounds
  while (2 ** (exponent + 1) <= size) exponent++;
  const fraction = (size / 2 ** exponent - 1) * 1024;
  return Number.isInteger(fraction) ? sign | (exponent + 15) << 10 | fraction : null;
}

function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
