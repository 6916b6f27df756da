// A device for wasmbed/1, written from SPEC.md; see README.md.

import { X509Certificate, createHash, createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import tls from 'node:tls';
import { parseArgs } from 'node:util';
import { Apps, LIMITS, writeWhole } from './apps.mjs';
import { pem, request, selfSigned, spki } from './der.mjs';
import { PERMISSIONS } from './runtime.mjs';
import { FEATURE, Session, words } from './session.mjs';

const GOODBYE = { Shutdown: 1, Superseded: 3, Revoked: 4, Expired: 5, Enrolled: 8 };
const VERB_REBOOT = 7;
const QUEUE = 500;

// Queue holds what is not acknowledged; records are numbered per boot (SPEC §13).
class Queue {
  constructor() {
    this.seq = { telemetry: 0, logs: 0, trap: 0 };
    this.records = { telemetry: [], logs: [] };
    this.again = { telemetry: [], logs: [], trap: [], 'command-result': [] }; // whole messages, sent before or not
    this.dropped = 0;
  }

  record(name, record) {
    const list = this.records[name];
    list.push([++this.seq[name], record]);
    if (list.length > QUEUE) {
      list.shift();
      this.dropped++;
    }
  }

  trap(fields) { this.again.trap.push({ seq: ++this.seq.trap, ...fields }); }
  back(name, fields) { this.again[name].unshift(fields); }
  push(name, fields) { this.again[name].push(fields); }
  waiting() { return this.records.telemetry.length + this.records.logs.length; }

  // take gives the fields of the next message of the type. A batch never spans a hole in the numbers.
  take(name) {
    const again = this.again[name].shift();
    if (again || !this.records[name]) return again;
    const list = this.records[name];
    let n = 0;
    while (n < list.length && n < 32 && list[n][0] === list[0][0] + n) n++;
    if (n === 0) return undefined;
    const batch = list.splice(0, n);
    return { seq: batch[0][0], records: batch.map(([, r]) => r) };
  }
}

class Device {
  constructor(options) {
    this.options = options;
    this.began = performance.now();
    mkdirSync(options.dir, { recursive: true });
    this.key = this.loadKey();
    this.memory = this.loadMemory();
    this.capabilities = { moduleMemory: LIMITS.moduleMemory, moduleSize: LIMITS.moduleSize, chunk: options.chunk, apps: LIMITS.apps, abi: 1, permissions: PERMISSIONS };
    this.features = FEATURE.telemetry | FEATURE.logs | FEATURE.renew | (options.measurement ? FEATURE.attest : 0);
    this.tries = 0;
  }

  path(name) { return join(this.options.dir, name); }
  emit(fields) { process.stdout.write(`${JSON.stringify({ ...fields, at: Math.round(performance.now() - this.began) })}\n`); }

  loadKey() {
    const file = this.path('key.pem');
    if (!existsSync(file)) writeWhole(file, generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }));
    return createPrivateKey(readFileSync(file));
  }

  // memory survives: era and desired version, the latest time known, whether first contact was ordered.
  loadMemory() {
    const file = this.path('device.json');
    const m = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : { era: '', seen: 0, time: 0, expired: false, rebooted: '' };
    return { ...m, era: Buffer.from(m.era, 'hex') };
  }

  keepMemory() { writeWhole(this.path('device.json'), JSON.stringify({ ...this.memory, era: this.memory.era.toString('hex') })); }

  seen(era, desired) {
    const { memory } = this;
    memory.seen = memory.era.equals(era) ? Math.max(memory.seen, Number(desired)) : Number(desired);
    memory.era = era;
    this.keepMemory();
  }

  boot() {
    this.bootId = randomBytes(8);
    this.bootedAt = performance.now();
    this.queue = new Queue();
    this.clock = null; // difference of the platform's time and our uptime
    const told = new Map();
    const changed = (name) => {
      const s = this.apps.all.get(name).view();
      const line = JSON.stringify([s.state, s.revision, s.attempt, s.running, s.confirmed, s.reason]);
      if (told.get(name) !== line) {
        told.set(name, line);
        const state = ['', 'Fetching', 'Staged', 'Starting', 'Running', 'Stopping', 'Stopped', 'Failed', 'RolledBack'][s.state];
        this.emit({ event: 'state', app: name, state, revision: s.revision, attempt: s.attempt, running: s.running, confirmed: s.confirmed, reason: s.reason });
      }
      this.session?.changed(name);
    };
    this.apps = new Apps(this.path('apps'), {
      emit: (e) => this.emit(e), changed, uptime: () => this.uptime(), now: () => this.now(),
      gone: (name) => {
        told.delete(name);
        this.emit({ event: 'state', app: name, state: 'Removed' });
        this.session?.removed(name);
      },
      result: (command, result) => {
        this.queue.push('command-result', { refers: 0, command, ...result });
        this.emit({ event: 'result', ...words(result) });
        this.session?.pump();
      },
      trap: (t) => {
        this.queue.trap({ ...t, where: t.where.slice(0, 60), text: t.text.slice(0, 60) });
        this.emit({ event: 'trap', app: t.app, revision: t.revision, reason: t.reason });
        this.session?.pump();
      },
      log: (app, level, text) => this.queue.record('logs', [this.now(), app, level, text]),
      telemetry: (app, name, value) => {
        if (Number.isFinite(value)) this.queue.record('telemetry', [this.now(), app, name, value]);
        else this.queue.dropped++;
      },
    });
    this.emit({ event: 'start', bootId: this.bootId.toString('hex'), apps: [...this.apps.all.keys()] });
    this.apps.boot();
    // Batches go once per second. Every running module also says how long the device has been up.
    this.ticker = setInterval(() => {
      for (const [name, app] of this.apps.all) {
        if (app.instance) this.queue.record('telemetry', [this.now(), name, 'foreign.uptime', Math.round(this.uptime()) / 1000]);
      }
      this.session?.pump();
    }, 1000);
  }

  uptime() { return performance.now() - this.bootedAt; }
  now() { return this.clock === null ? 0 : Math.floor(this.clock + this.uptime()); }

  setTime(ms) {
    this.clock = ms - this.uptime();
    if (ms > this.memory.time + 3_600_000) {
      this.memory.time = ms;
      this.keepMemory();
    }
  }

  // chain is the operational certificate's, or null when first contact is due (SPEC §7.1).
  chain() {
    const file = this.path('chain.pem');
    if (this.memory.expired || !existsSync(file)) return null;
    const chain = readFileSync(file, 'utf8');
    const now = Math.max(Date.now(), this.memory.time);
    return new Date(new X509Certificate(chain).validTo).getTime() > now ? chain : null;
  }

  connect() {
    const [, host, port] = /^(.*):(\d+)$/.exec(this.options.gateway);
    const chain = this.chain();
    return new Promise((resolve, reject) => {
      const socket = tls.connect({
        host, port: Number(port), servername: isIP(host) ? undefined : host, ca: readFileSync(this.options.trust),
        key: this.key.export({ type: 'pkcs8', format: 'pem' }), cert: chain ?? pem(selfSigned(this.key, this.options.name || 'device')),
        minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3', ALPNProtocols: ['wasmbed/1'], timeout: 0,
      });
      this.socket = socket;
      const timer = setTimeout(() => socket.destroy(new Error('no handshake in 20 s')), 20_000);
      socket.once('secureConnect', () => {
        clearTimeout(timer);
        if (socket.alpnProtocol !== 'wasmbed/1') {
          socket.destroy(new Error('no ALPN'));
          return;
        }
        socket.setNoDelay(true);
        this.emit({ event: 'connected', certificate: chain ? 'operational' : 'selfSigned' });
        resolve(socket);
      });
      socket.once('error', (e) => {
        clearTimeout(timer);
        reject(e);
      });
    });
  }

  // run lives until stop.
  async run() {
    this.boot();
    while (!this.stopping) {
      let outcome = { reason: 0, retryAfter: null, lived: 0 };
      try {
        const socket = await this.connect();
        this.session = new Session(this, socket);
        outcome = await this.session.run();
      } catch (e) {
        this.emit({ event: 'closed', text: e.message });
      }
      this.session = null;
      if (this.stopping) return;
      if (this.rebooting) this.restart();
      await this.pause(outcome);
    }
  }

  // pause is the back-off of SPEC §9.3 and what goodbye asks for (§6.3).
  async pause({ reason, retryAfter, lived }) {
    if (lived > 60_000) this.tries = 0;
    let wait = Math.min(1000 * 2 ** this.tries++, 60_000) * (0.5 + Math.random() / 2);
    if (this.retryAt !== undefined) wait = Math.max(this.retryAt - performance.now(), 0) + Math.random() * 1000;
    if (retryAfter !== null) wait = retryAfter + Math.random() * 1000;
    if (reason === GOODBYE.Enrolled || this.freshChain) {
      wait = 0;
      this.tries = 0;
    }
    if (reason === GOODBYE.Superseded) wait = Math.max(wait, 10_000);
    if (reason === GOODBYE.Revoked) wait = Math.max(wait, 60_000);
    if (reason === GOODBYE.Expired) {
      this.memory.expired = true;
      this.keepMemory();
    }
    this.freshChain = false;
    this.retryAt = undefined;
    await new Promise((resolve) => {
      this.wake = resolve;
      setTimeout(resolve, wait);
    });
  }

  restart() {
    this.rebooting = false;
    clearInterval(this.ticker);
    this.apps.halt();
    this.boot();
  }

  stop() {
    this.stopping = true;
    clearInterval(this.ticker);
    this.apps?.halt();
    if (this.session) this.session.end(GOODBYE.Shutdown);
    else this.socket?.destroy();
    this.wake?.();
    setTimeout(() => process.exit(0), 2500).unref();
  }

  csr() { return request(this.key, this.options.name || 'device'); }

  // enroll is first contact (SPEC §7.4). nonce is the welcome's.
  enroll(session, { nonce }) {
    const ask = () => {
      if (session.phase !== 'first') return;
      session.enrolls.add(session.send('enroll', { csr: this.csr(), name: this.options.name, claim: Buffer.from(this.options.claim, 'utf8'), evidence: this.evidence(nonce) }));
      session.askAgain = ask;
      this.emit({ event: 'enroll' });
    };
    ask();
  }

  evidence(nonce) {
    if (!this.options.measurement) return null;
    const measurement = Buffer.from(this.options.measurement, 'hex');
    const keyHash = createHash('sha256').update(spki(this.key)).digest();
    const tbs = Buffer.concat([Buffer.from('wasmbed/1 evidence\0', 'latin1'), nonce, measurement, keyHash]);
    return { format: 1, nonce, measurement, signature: sign('sha256', tbs, this.key) };
  }

  renew(session) {
    if (session.phase !== 'enrolled') return;
    session.enrolls.add(session.send('renew', { csr: this.csr() }));
    session.askAgain = () => this.renew(session);
    this.emit({ event: 'renew' });
  }

  enrollResult(session, m) {
    this.emit({ event: 'enrollResult', status: ['', 'Accepted', 'Pending', 'Rejected'][m.status], reason: m.reason });
    const first = session.phase === 'first';
    if (m.status === 1) {
      this.store(m.chain, session);
      return;
    }
    const wait = m.status === 3 || !first ? Math.max(m.retryAfter, 60_000) : Math.max(m.retryAfter, 1000);
    if (first && (m.status === 3 || wait > 30_000)) {
      this.retryAt = performance.now() + wait;
      session.end(GOODBYE.Shutdown);
      return;
    }
    if (session.asking) clearTimeout(session.asking);
    session.asking = session.after(wait, session.askAgain);
  }

  // enrollFailed: the gateway answered with an error.
  enrollFailed(session) { session.asking = session.after(session.phase === 'first' ? 5000 : 60_000, session.askAgain); }

  store(chain, session) {
    const leaf = new X509Certificate(chain[0]);
    if (!leaf.publicKey.export({ type: 'spki', format: 'der' }).equals(createPublicKey(this.key).export({ type: 'spki', format: 'der' }))) {
      this.emit({ event: 'refused', layer: 'auth', code: 6, text: 'a certificate for another key' });
      session.end(6);
      return;
    }
    writeWhole(this.path('chain.pem'), chain.map(pem).join(''));
    this.memory.expired = false;
    this.keepMemory();
    this.emit({ event: 'identity', uri: (leaf.subjectAltName ?? '').replace(/^URI:/, '') });
    if (session.phase !== 'first') return;
    this.freshChain = true;
    session.after(2000, () => session.end(GOODBYE.Shutdown)); // goodbye(Enrolled) should come first
  }

  // command carries out a command and gives its first result.
  command(c) {
    if (c.verb !== VERB_REBOOT) return this.apps.command(c);
    const id = c.command.toString('hex');
    if (this.memory.rebooted === id) return { status: 2 };
    this.memory.rebooted = id;
    this.keepMemory();
    this.rebooting = true;
    const { session } = this;
    session.after(300, () => session.end(GOODBYE.Shutdown));
    return { status: 1 };
  }
}

const { values: options } = parseArgs({ options: {
  gateway: { type: 'string' }, trust: { type: 'string' }, dir: { type: 'string' }, name: { type: 'string', default: '' }, board: { type: 'string', default: 'Host' },
  claim: { type: 'string', default: '' }, measurement: { type: 'string', default: '' }, chunk: { type: 'string', default: '1024' },
} });
if (!options.gateway || !options.trust || !options.dir) {
  console.error('usage: device.mjs --gateway HOST:PORT --trust FILE --dir DIR [--name NAME] [--board BOARD] [--claim TEXT] [--measurement HEX] [--chunk BYTES]');
  process.exit(2);
}
options.chunk = Number(options.chunk);
const device = new Device(options);
process.on('SIGTERM', () => device.stop());
process.on('SIGINT', () => device.stop());
await device.run();
process.exit(0);
