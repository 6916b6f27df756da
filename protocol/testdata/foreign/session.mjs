// One session with a gateway, from the end of the TLS handshake (SPEC §8 to §10, §12, §13, §15).

import { createHash } from 'node:crypto';
import { encode } from './cbor.mjs';
import { Frames, TYPE, readMessage, typeName, writeFrame } from './schema.mjs';

export const CAP = 8192;
const CHUNK = 4096;
const IN_FLIGHT = 8, MAX_ERRORS = 16;
export const FEATURE = { telemetry: 4, logs: 8, renew: 16, attest: 32 };
const CODE = { Busy: 9, Internal: 10, NotFound: 8 };
const GOODBYE = { Shutdown: 1, Protocol: 6 };
const RETRIED = [CODE.Busy, CODE.Internal];
const KEPT = new Set(['trap', 'telemetry', 'logs', 'command-result']); // sent again after a reconnect
const FROM_GATEWAY = new Set(['welcome', 'error', 'goodbye', 'enroll-result', 'heartbeat-ack', 'ack', 'command', 'chunk', 'report-request', 'invoke', 'message-down']);

// stateDigest is SPEC §10.4.
export function stateDigest(states) {
  const map = new Map(Object.entries(states).map(([name, s]) => [name, [s.state, s.revision, s.attempt, s.running, s.confirmed, s.reason]]));
  return createHash('sha256').update(encode(map)).digest().subarray(0, 8);
}

// Session talks over a socket for a device, which has: emit, options, bootId, apps, memory (era, seen), queue,
// features, enroll(session, welcome), enrolled(result), command(c), uptime(), setTime(ms), keepMemory().
export class Session {
  constructor(device, socket) {
    this.device = device;
    this.socket = socket;
    this.phase = 'hello';
    this.frames = new Frames(CAP);
    this.lastId = 0;
    this.flying = new Map(); // id → message that waits for its ack
    this.dirty = new Set();
    this.gone = new Set();
    this.version = 0;
    this.errors = 0;
    this.enrolls = new Set(); // ids of enroll and renew
    this.timers = new Set();
    this.outcome = { reason: 0, retryAfter: null, lived: 0 };
    this.since = performance.now();
  }

  // run ends with the session.
  run() {
    return new Promise((resolve) => {
      const { socket } = this;
      socket.on('data', (bytes) => this.received(bytes));
      socket.on('end', () => socket.end());
      socket.on('error', (e) => {
        this.failure = e.message;
      });
      socket.on('close', () => {
        for (const t of this.timers) clearTimeout(t);
        this.requeue();
        if (this.enrolledAt) this.outcome.lived = performance.now() - this.enrolledAt;
        this.phase = 'closed';
        this.device.emit({ event: 'closed', text: this.failure ?? '' });
        resolve(this.outcome);
      });
      this.watch(10_000);
      this.sendHello();
    });
  }

  sendHello() {
    const { device } = this;
    this.send('hello', { versions: Buffer.of(1), features: device.features, bootId: device.bootId, board: device.options.board, firmware: 'foreign-1',
      capabilities: { ...device.capabilities, chunk: CHUNK, frame: CAP }, era: device.memory.era, seenDesired: device.memory.seen, stateDigest: stateDigest(device.apps.states()) });
  }

  after(ms, f) {
    const t = setTimeout(() => {
      this.timers.delete(t);
      f();
    }, ms);
    this.timers.add(t);
    return t;
  }

  // watch ends the session when no frame comes for so long.
  watch(ms) {
    this.patience = ms;
    if (this.watchdog) clearTimeout(this.watchdog);
    this.watchdog = this.after(ms, () => {
      this.failure = 'nothing was heard';
      this.socket.destroy();
    });
  }

  send(name, fields = {}) {
    const m = { ...fields, type: TYPE[name], id: ++this.lastId };
    this.socket.write(writeFrame(m));
    return m.id;
  }

  received(bytes) {
    try {
      for (const body of this.frames.push(bytes)) this.frame(body);
    } catch (e) {
      if (!e.layer) throw e;
      this.refuse(e, true);
    }
  }

  frame(body) {
    let m;
    try {
      if (this.patience) this.watch(this.patience);
      m = readMessage(body);
      this.judge(typeName(m.type));
    } catch (e) {
      if (!e.layer) throw e;
      this.refuse(Object.assign(e, { refers: e.refers ?? m?.id }), e.layer === 'cbor', m?.type);
      return;
    }
    const handler = { welcome: this.welcome, error: this.error, goodbye: this.goodbye, 'enroll-result': this.enrollResult, ack: this.ack, 'heartbeat-ack': this.heartbeatAck,
      command: this.command, chunk: this.chunk, 'report-request': this.reportRequest }[typeName(m.type)];
    if (handler) handler.call(this, m);
    else this.refuse(Object.assign(new Error('a feature that is not agreed'), { layer: 'state', code: 5, refers: m.id }), false);
  }

  judge(name) {
    const no = (text) => Object.assign(new Error(`${name} ${text}`), { layer: 'state', code: 5 });
    if (!FROM_GATEWAY.has(name)) throw no('from a gateway');
    if (name === 'error' || name === 'goodbye') return;
    if (this.phase === 'hello' && name !== 'welcome') throw no('before welcome');
    if (this.phase === 'first' && name !== 'enroll-result') throw no('in first contact');
    if (this.phase === 'enrolled' && name === 'welcome') throw no('twice');
    if (this.phase === 'closing') throw no('after goodbye');
  }

  refuse(e, fatal, type) {
    if (this.phase === 'closing') return;
    this.device.emit({ event: 'refused', layer: e.layer, code: e.code, text: e.message });
    if (type !== TYPE.error && type !== TYPE.goodbye) this.send('error', { refers: e.refers ?? 0, code: e.code, text: e.message.slice(0, 200) });
    if (fatal || ++this.errors >= MAX_ERRORS || this.phase !== 'enrolled') this.end(GOODBYE.Protocol);
  }

  // end says goodbye and closes.
  end(reason) {
    if (this.phase === 'closing' || this.phase === 'closed') return;
    this.send('goodbye', { reason });
    this.close();
  }

  close() {
    this.phase = 'closing';
    this.socket.end();
    this.after(2000, () => this.socket.destroy());
  }

  welcome(m) {
    const { device } = this;
    device.emit({ event: 'welcome', enrolled: m.enrolled, epoch: Number(m.epoch) });
    device.setTime(Number(m.time));
    this.features = BigInt(m.features);
    if (!m.enrolled) {
      this.phase = 'first';
      this.watch(60_000);
      device.enroll(this, m);
      return;
    }
    this.phase = 'enrolled';
    this.enrolledAt = performance.now();
    this.cap = m.frame;
    this.watch(3 * m.heartbeat);
    this.report(true);
    const beat = () => {
      if (this.phase !== 'enrolled') return;
      this.send('heartbeat', { uptime: Math.floor(device.uptime()), freeMemory: 64 << 20, stateDigest: stateDigest(device.apps.states()), queued: device.queue.waiting(), dropped: device.queue.dropped });
      device.emit({ event: 'heartbeat' });
      this.after(m.heartbeat, beat);
    };
    this.after(m.heartbeat / 2, beat);
    if (this.has(FEATURE.renew) && m.renewBefore) this.after(Math.min(Math.max(Number(m.renewBefore) - device.now(), 0), 2 ** 31 - 1), () => device.renew(this));
    this.pump();
    this.fetch();
  }

  has(bit) { return (this.features & BigInt(bit)) !== 0n; }

  error(m) {
    this.device.emit({ event: 'error', code: m.code, refers: Number(m.refers), text: m.text });
    const flown = this.flying.get(m.refers);
    if (flown) {
      this.flying.delete(m.refers);
      if (RETRIED.includes(m.code)) {
        const wait = 1000 * 2 ** Math.min(flown.tries ?? 0, 6);
        this.after(wait, () => (flown.name === 'report' ? this.report(true) : this.fly(flown.name, flown.fields, (flown.tries ?? 0) + 1)));
      }
    }
    if (this.asked && m.refers === this.asked.id) {
      clearTimeout(this.asked.timer);
      const wait = Math.min(1000 * 2 ** this.asked.misses, 60_000);
      const { misses } = this.asked;
      this.asked = null;
      if (this.stalled) clearTimeout(this.stalled.timer); // the gateway lives and waits, too
      this.stalled = null;
      if ([...RETRIED, CODE.NotFound].includes(m.code)) this.fetchLater = this.after(wait, () => this.fetch(misses + 1));
    }
    if (this.enrolls.has(m.refers)) this.device.enrollFailed(this);
  }

  goodbye(m) {
    this.device.emit({ event: 'goodbye', reason: m.reason });
    this.outcome.reason = m.reason;
    this.outcome.retryAfter = m.retryAfter || null;
    this.close();
  }

  enrollResult(m) {
    if (!this.enrolls.has(m.refers)) return;
    this.device.enrollResult(this, m);
  }

  heartbeatAck(m) { this.device.setTime(Number(m.time)); }

  ack(m) {
    const flown = this.flying.get(m.refers);
    if (!flown) return;
    this.flying.delete(m.refers);
    this.device.emit({ event: 'ack', of: flown.name });
    if (flown.name === 'report') this.reportLater();
    this.pump();
  }

  command(m) {
    const { device } = this;
    const verb = { 1: 'Deploy', 2: 'Update', 3: 'Start', 4: 'Stop', 5: 'Remove', 6: 'Rollback', 7: 'Reboot' }[m.verb] ?? `${m.verb}`;
    device.emit({ event: 'command', verb, app: m.app, revision: m.revision, attempt: Number(m.attempt) });
    const result = device.command(m);
    device.emit({ event: 'result', verb, app: m.app, ...words(result) });
    if (m.era.length && result.status !== 3) device.seen(m.era, m.desired);
    this.fly('command-result', { refers: m.id, command: m.command, ...result });
    this.reportLater();
    this.fetch();
  }

  // reportRequest, report: §10.
  reportRequest() { this.report(true); }

  changed(app) {
    this.dirty.add(app);
    this.gone.delete(app);
    this.reportLater();
    this.fetch();
  }

  removed(app) {
    this.dirty.delete(app);
    this.gone.add(app);
    this.reportLater();
  }

  // reportLater lets the changes of one turn of the event loop go together, and waits for acks.
  reportLater() {
    if (this.phase !== 'enrolled' || this.reporting) return;
    this.reporting = this.after(0, () => {
      this.reporting = null;
      if (this.phase === 'enrolled' && this.dirty.size + this.gone.size && this.inFlight('report') < IN_FLIGHT) this.report(false);
    });
  }

  report(full) {
    if (this.phase !== 'enrolled') return;
    const { device } = this;
    const states = device.apps.states();
    const apps = full ? states : Object.fromEntries(Object.entries(states).filter(([name]) => this.dirty.has(name)));
    const removed = full ? [] : [...this.gone];
    this.dirty.clear();
    this.gone.clear();
    this.version++;
    this.fly('report', { version: this.version, full, era: device.memory.era, seenDesired: device.memory.seen, apps, removed, stateDigest: stateDigest(states) });
    device.emit({ event: 'report', version: this.version, full });
  }

  // fly sends a message that will be acknowledged.
  fly(name, fields, tries = 0) {
    if (this.phase !== 'enrolled') {
      if (KEPT.has(name)) this.device.queue.back(name, fields);
      return;
    }
    this.flying.set(this.send(name, fields), { name, fields, tries });
  }

  inFlight(name) { return [...this.flying.values()].filter((f) => f.name === name).length; }

  // pump sends what is queued, as far as the acks allow.
  pump() {
    if (this.phase !== 'enrolled') return;
    const { queue } = this.device;
    for (const name of KEPT) {
      if (name === 'telemetry' && !this.has(FEATURE.telemetry)) continue;
      if (name === 'logs' && !this.has(FEATURE.logs)) continue;
      while (this.inFlight(name) < IN_FLIGHT) {
        const fields = queue.take(name);
        if (!fields) break;
        this.fly(name, fields);
        if (fields.records) this.device.emit({ event: name, seq: fields.seq, n: fields.records.length });
      }
    }
  }

  requeue() {
    const flown = [...this.flying.values()].reverse();
    for (const { name, fields } of flown) {
      if (KEPT.has(name)) this.device.queue.back(name, name === 'command-result' ? { ...fields, refers: 0 } : fields);
    }
    this.flying.clear();
  }

  // fetch asks for the next piece of a module, one at a time (§12).
  fetch(misses = 0) {
    if (this.phase !== 'enrolled' || this.asked || (this.fetchLater && this.timers.has(this.fetchLater))) return;
    const app = this.device.apps.fetching();
    if (!app) {
      this.stalled = null;
      return;
    }
    const { digest, offset, left } = app.wanted();
    this.watchTransfer(app, digest, offset);
    const length = Math.min(left, CHUNK, this.device.capabilities.chunk);
    const id = this.send('chunk-request', { digest, offset, length });
    const timer = this.after(10_000, () => {
      this.asked = null;
      this.fetch(misses);
    });
    this.asked = { id, digest, offset, length, timer, misses };
  }

  // watchTransfer gives up after 60 s of asking without a new byte.
  watchTransfer(app, digest, offset) {
    const key = `${app.name} ${digest.toString('hex')} ${offset}`;
    if (this.stalled?.key === key) return;
    if (this.stalled) clearTimeout(this.stalled.timer);
    this.stalled = { key, timer: this.after(60_000, () => {
      const now = app.wanted();
      if (now && now.offset === offset && now.digest.equals(digest)) app.transferTimeout();
    }) };
  }

  chunk(m) {
    const { asked } = this;
    if (!asked || m.refers !== asked.id) return;
    clearTimeout(asked.timer);
    this.asked = null;
    const app = this.device.apps.fetching();
    const want = app?.wanted();
    if (want && m.digest.equals(want.digest) && m.offset === want.offset && m.data.length <= asked.length) app.chunk(m.offset, m.data, m.total);
    this.fetch();
  }
}

export function words(result) {
  const status = ['', 'Accepted', 'Done', 'Refused', 'Failed'][result.status];
  return result.reason ? { status, reason: result.reason } : { status };
}

