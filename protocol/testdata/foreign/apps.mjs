// Two slots per application and its life (SPEC §11).

import { createHash } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, readdirSync, renameSync, rmSync, statSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { Fault, Instance, REASON, check } from './runtime.mjs';

export const STATE = { Fetching: 1, Staged: 2, Starting: 3, Running: 4, Stopping: 5, Stopped: 6, Failed: 7, RolledBack: 8 };
export const STATUS = { Accepted: 1, Done: 2, Refused: 3, Failed: 4 };
const VERB = { Deploy: 1, Update: 2, Start: 3, Stop: 4, Remove: 5, Rollback: 6 };
const TRIAL_BOOTS = 3;

export const LIMITS = { apps: 4, moduleSize: 1 << 20, moduleMemory: 16 << 20 };

// writeWhole replaces a file so that power may go at any moment.
export function writeWhole(path, bytes) {
  const fd = openSync(`${path}.new`, 'w', 0o600);
  writeSync(fd, bytes);
  fsyncSync(fd);
  closeSync(fd);
  renameSync(`${path}.new`, path);
}

const accepted = { status: STATUS.Accepted }, done = { status: STATUS.Done };
const refused = (reason, text) => ({ status: STATUS.Refused, reason, text });

// Apps are the applications of a device. world has: emit(event), changed(app), gone(app), result(command, result),
// trap({app, revision, reason, where, text}), log(app, level, text), telemetry(app, name, value), now(), uptime().
export class Apps {
  constructor(dir, world) {
    this.dir = dir;
    this.world = world;
    mkdirSync(dir, { recursive: true });
    this.all = new Map(readdirSync(dir).filter((n) => existsSync(join(dir, n, 'record.json'))).map((n) => [n, new App(n, join(dir, n), world)]));
  }

  boot() { for (const app of this.all.values()) app.boot(); }

  halt() { for (const app of this.all.values()) app.halt(); }

  states() { return Object.fromEntries([...this.all].map(([name, app]) => [name, app.view()])); }

  // fetching is an application that needs bytes.
  fetching() { return [...this.all.values()].find((a) => a.wanted()); }

  // command carries out a command (but Reboot) and gives its first result.
  command(c) {
    const app = this.all.get(c.app);
    if (app && c.verb !== VERB.Remove) return app.command(c);
    switch (c.verb) {
      case VERB.Remove:
        if (app) {
          app.erase();
          this.all.delete(c.app);
          this.world.gone(c.app);
        }
        return done;
      case VERB.Start:
      case VERB.Stop:
        if (!c.manifest) return refused(REASON.UnknownApp, 'no such app');
        break;
      case VERB.Deploy:
      case VERB.Update:
      case VERB.Rollback:
        break;
      default:
        return refused(REASON.Unsupported, `verb ${c.verb}`);
    }
    if (this.all.size >= LIMITS.apps) return refused(REASON.TooManyApps, `${LIMITS.apps} of ${LIMITS.apps} are used`);
    const fresh = new App(c.app, join(this.dir, c.app), this.world);
    this.all.set(c.app, fresh);
    return fresh.command(c);
  }
}

class App {
  constructor(name, dir, world) {
    this.name = name;
    this.dir = dir;
    this.world = world;
    const file = join(dir, 'record.json');
    this.r = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : { slots: [null, null], active: null, state: 0, op: null, failure: null, lastCommand: '', trialBoots: 0 };
    this.instance = null;
    this.timers = new Set();
    this.restarts = this.traps = 0;
    this.faults = []; // uptime of each
    this.waiting = null; // {command, slot}: who gets a second result
  }

  file(slot) { return join(this.dir, `slot${slot}.wasm`); }
  slot() { return this.r.slots[this.r.active]; }

  save() {
    mkdirSync(this.dir, { recursive: true });
    writeWhole(join(this.dir, 'record.json'), JSON.stringify(this.r, (k, v) => (typeof v === 'bigint' ? Number(v) : v)));
  }

  // set changes the state, keeps it and tells it.
  set(state, slot, reason = 0, text = '') {
    Object.assign(this.r, { state, revision: slot.revision, attempt: slot.attempt, reason, text: [...text].slice(0, 60).join('') });
    this.save();
    this.world.changed(this.name);
  }

  view() {
    const { r } = this;
    const active = this.slot();
    return { state: r.state, revision: r.revision, attempt: r.attempt, running: this.instance || r.state === STATE.RolledBack ? active.revision : '', confirmed: r.state === STATE.Running && active.confirmed,
      reason: r.reason, text: r.text, restarts: this.restarts, progress: r.state === STATE.Fetching ? r.slots[r.op.slot].held : 0, traps: this.traps };
  }

  after(ms, f) {
    const t = setTimeout(() => {
      this.timers.delete(t);
      f();
    }, Math.min(ms, 2 ** 31 - 1));
    this.timers.add(t);
    return t;
  }

  cancel(t) {
    clearTimeout(t);
    this.timers.delete(t);
  }

  // halt is the end of power: nothing is told.
  halt() {
    for (const t of this.timers) clearTimeout(t);
    this.timers.clear();
    this.moduleTimers?.forEach(clearInterval);
    this.instance = null;
  }

  erase() {
    this.end();
    this.halt();
    rmSync(this.dir, { recursive: true, force: true });
  }

  boot() {
    const { r } = this;
    const active = this.slot();
    if (active?.run && (r.op === null || r.op.slot !== r.active)) {
      if (active.confirmed) {
        this.run(r.op !== null || r.state === STATE.RolledBack);
      } else if (++r.trialBoots > TRIAL_BOOTS) {
        this.giveUp(r.active, REASON.PowerLoss, 'power was lost on trial');
      } else {
        this.save();
        this.run(r.op !== null);
      }
    }
    if (r.op) {
      this.watchDeadline();
      this.advance();
    }
  }

  command(c) {
    const id = c.command.toString('hex');
    if (id === this.r.lastCommand) return this.resultNow();
    const result = this.carryOut(c);
    if (result.status !== STATUS.Refused) {
      this.r.lastCommand = id;
      this.waiting = result.status === STATUS.Accepted ? c.command : null;
      this.save();
    }
    return result;
  }

  resultNow() {
    const { r } = this;
    if (r.op || (r.state === STATE.Running && !this.slot().confirmed)) return accepted;
    return r.state === STATE.Failed || r.state === STATE.RolledBack ? { status: STATUS.Failed, reason: r.reason, text: r.text } : done;
  }

  carryOut(c) {
    const holds = c.revision === '' || this.slot()?.revision === c.revision;
    switch (c.verb) {
      case VERB.Start:
        if (!holds && c.manifest) return this.install(c, true);
        return this.startAgain(c.revision);
      case VERB.Stop:
        if (!holds && c.manifest) return this.install(c, false);
        return this.stopNow();
      case VERB.Deploy:
      case VERB.Update:
      case VERB.Rollback:
        return this.install(c, true);
    }
    return refused(REASON.Unsupported, `verb ${c.verb}`);
  }

  startAgain(revision) {
    const active = this.slot();
    if (active?.givenUp && this.r.state === STATE.Failed) return { status: STATUS.Failed, reason: this.r.reason, text: 'given up before' };
    if (!active?.complete || (revision && revision !== active.revision)) return refused(REASON.UnknownApp, 'nothing to start');
    if (this.instance) return done;
    this.preempt();
    this.after(0, () => this.launch(this.r.active));
    return accepted;
  }

  stopNow() {
    this.preempt();
    const active = this.slot();
    if (!active) return refused(REASON.UnknownApp, 'nothing to stop');
    this.end();
    active.run = false;
    this.set(STATE.Stopped, active);
    return done;
  }

  install(c, start) {
    const { r } = this;
    const attempt = Number(c.attempt), digest = c.digest.toString('hex');
    if (r.failure?.revision === c.revision && attempt <= r.failure.attempt) return { status: STATUS.Failed, reason: r.failure.reason, text: 'given up before' };
    if (r.slots.some((s) => s && s.revision === c.revision && s.attempt > attempt)) return done;
    const active = this.slot();
    const same = active && active.revision === c.revision && active.digest === digest;
    if (same && start && this.instance) {
      this.preempt();
      active.attempt = attempt;
      this.set(STATE.Running, active);
      return active.confirmed ? done : accepted;
    }
    this.preempt();
    const target = this.chooseSlot(digest);
    const kept = r.slots[target];
    const reuse = kept?.digest === digest ? kept : null;
    r.slots[target] = { revision: c.revision, attempt, digest, size: c.size, manifest: c.manifest, held: reuse ? reuse.held : 0, complete: reuse ? reuse.complete : false,
      confirmed: Boolean(reuse?.confirmed && reuse.revision === c.revision), givenUp: false, run: false, tries: 0 };
    if (!reuse) this.copyFrom(1 - target, target);
    r.op = { slot: target, start, rollback: c.verb === VERB.Rollback, deadline: c.deadline };
    if (c.verb === VERB.Rollback && active && target !== r.active) active.givenUp = true;
    r.trialBoots = 0;
    this.set(STATE.Fetching, r.slots[target]);
    this.watchDeadline();
    this.after(0, () => this.advance());
    return accepted;
  }

  // preempt drops what is under way; there is no second result for it.
  preempt() {
    const { r } = this;
    if (this.deadline) this.cancel(this.deadline);
    r.op = null;
    this.waiting = null;
  }

  // chooseSlot finds the slot for new bytes: never the active one while it is good.
  chooseSlot(digest) {
    const { r } = this;
    const active = this.slot();
    if (active && this.instance && !active.confirmed && this.canRun(1 - r.active)) {
      const trial = r.active;
      this.end();
      r.active = 1 - trial;
      this.run(true);
      return trial;
    }
    const free = [0, 1].filter((i) => i !== r.active || !active.complete || active.givenUp);
    const rank = (i) => (r.slots[i]?.digest === digest ? 0 : !r.slots[i] ? 1 : r.slots[i].givenUp ? 2 : 3);
    return free.sort((a, b) => rank(a) - rank(b))[0];
  }

  canRun(i) {
    const s = this.r.slots[i];
    return Boolean(s && s.complete && s.confirmed && !s.givenUp && s.run);
  }

  // copyFrom takes the bytes of the other slot when they are the same module.
  copyFrom(other, target) {
    const from = this.r.slots[other], to = this.r.slots[target];
    if (from?.complete && from.digest === to.digest) {
      writeWhole(this.file(target), readFileSync(this.file(other)));
      to.held = to.size;
    }
  }

  watchDeadline() {
    const { op } = this.r;
    if (!op?.deadline) return;
    this.deadline = this.after(op.deadline, () => this.giveUp(op.slot, REASON.DeadlineExceeded, 'the deadline has passed'));
  }

  // wanted says which bytes are missing.
  wanted() {
    const { op } = this.r;
    if (!op || this.r.state !== STATE.Fetching) return null;
    const s = this.r.slots[op.slot];
    return s.held < s.size && !this.tooLarge(s) ? { digest: Buffer.from(s.digest, 'hex'), offset: s.held, left: s.size - s.held, size: s.size } : null;
  }

  tooLarge(s) { return s.size > LIMITS.moduleSize; }

  // chunk takes bytes that were asked for.
  chunk(offset, data, total) {
    const s = this.r.slots[this.r.op.slot];
    if (total !== s.size) {
      this.giveUp(this.r.op.slot, REASON.DigestMismatch, `${total} bytes, ${s.size} were promised`);
      return;
    }
    const path = this.file(this.r.op.slot);
    const fd = openSync(path, existsSync(path) ? 'r+' : 'w+', 0o600);
    writeSync(fd, data, 0, data.length, offset);
    fsyncSync(fd);
    closeSync(fd);
    s.held = offset + data.length;
    this.save();
    this.world.emit({ event: 'chunk', app: this.name, offset, bytes: data.length, size: total });
    if (s.held === s.size) this.advance();
  }

  transferTimeout() { this.giveUp(this.r.op.slot, REASON.TransferTimeout, 'no new byte'); }

  // advance goes on with the operation when its bytes are there.
  advance() {
    const { op } = this.r;
    if (!op) return;
    const s = this.r.slots[op.slot];
    try {
      if (this.tooLarge(s)) throw new Fault(REASON.ModuleTooLarge, `${s.size} bytes`);
      if (s.manifest.memoryPages * 65536 > LIMITS.moduleMemory) throw new Fault(REASON.InsufficientMemory, `${s.manifest.memoryPages} pages`);
      if (s.held < s.size) return;
      const bytes = this.verified(op.slot, s);
      if (!bytes) return;
      check(bytes, s.manifest);
    } catch (e) {
      if (!(e instanceof Fault)) throw e;
      this.giveUp(op.slot, e.reason, e.message);
      return;
    }
    s.complete = true;
    this.world.emit({ event: 'verified', app: this.name, revision: s.revision, digest: s.digest });
    this.set(STATE.Staged, s);
    if (op.start) {
      this.launch(op.slot);
      return;
    }
    this.end();
    this.r.active = op.slot;
    this.finish(STATUS.Done);
    this.set(STATE.Stopped, s);
  }

  // verified reads back what was stored. A wrong digest begins again once.
  verified(i, s) {
    const bytes = statSync(this.file(i)).size >= s.size ? readFileSync(this.file(i)).subarray(0, s.size) : Buffer.alloc(0);
    if (createHash('sha256').update(bytes).digest('hex') === s.digest) return bytes;
    truncateSync(this.file(i), 0);
    s.held = 0;
    if (++s.tries > 1) throw new Fault(REASON.DigestMismatch, 'twice');
    this.save();
    return null;
  }

  // launch makes a slot the active one and starts it, on trial unless it is known to be good.
  launch(i) {
    const { r } = this;
    this.end();
    const s = r.slots[i];
    const trusted = r.op?.rollback && s.confirmed;
    r.active = i;
    s.run = true;
    if (r.op && !trusted) s.confirmed = false;
    r.op = null;
    this.restarts = this.traps = 0;
    this.faults = [];
    this.run(false);
  }

  // run starts the active slot; back is true when this is a return to it.
  run(back) {
    const { r } = this;
    const s = this.slot();
    const i = r.active;
    if (!back) this.set(STATE.Starting, s);
    try {
      const module = check(readFileSync(this.file(i)).subarray(0, s.size), s.manifest);
      this.moduleTimers = new Map();
      this.instance = new Instance(module, s.manifest, this.host());
      s.manifest.timers.forEach((t) => this.setTimer(t.id, t.period));
      this.instance.start();
    } catch (e) {
      this.fault(e);
      return;
    }
    if (back) return;
    this.set(STATE.Running, s);
    if (s.confirmed) {
      this.finish(STATUS.Done);
      return;
    }
    this.trial = this.after(s.manifest.healthWindow, () => {
      s.confirmed = true;
      r.trialBoots = 0;
      if (r.op) { // another revision is on its way, and the state speaks of that one
        this.save();
        return;
      }
      if (this.deadline) this.cancel(this.deadline);
      this.set(STATE.Running, s);
      this.finish(STATUS.Done);
    });
  }

  host() {
    const { world, name } = this;
    const file = join(this.dir, 'kv.json');
    const kv = new Map(existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).map(([k, v]) => [k, Buffer.from(v, 'hex')]) : []);
    return {
      now: world.now, uptime: world.uptime, log: (level, text) => world.log(name, level, text), telemetry: (metric, value) => world.telemetry(name, metric, value),
      timer: (id, period) => this.setTimer(id, period), kv, saveKV: () => writeWhole(file, JSON.stringify([...kv].map(([k, v]) => [k, v.toString('hex')]))),
    };
  }

  setTimer(id, period) {
    clearInterval(this.moduleTimers.get(id));
    this.moduleTimers.delete(id);
    if (period === 0) return 0;
    if (this.moduleTimers.size >= 8) return -2;
    this.moduleTimers.set(id, setInterval(() => {
      try {
        this.instance?.timer(id);
      } catch (e) {
        this.fault(e);
      }
    }, period));
    return 0;
  }

  // end stops the instance, if there is one.
  end() {
    if (this.trial) this.cancel(this.trial);
    this.moduleTimers?.forEach((t) => clearInterval(t));
    const { instance } = this;
    this.instance = null;
    try {
      instance?.stop();
    } catch {
      // it ends anyway
    }
  }

  // fault is a trap or a bad result of the module that runs.
  fault(e) {
    if (!(e instanceof Fault)) throw e;
    const s = this.slot();
    this.instance = null; // no stop after a trap
    this.end();
    this.traps++;
    this.world.trap({ app: this.name, revision: s.revision, reason: e.reason, where: e.where ?? '', text: e.message });
    if (!s.confirmed) {
      this.giveUp(this.r.active, e.reason, e.message);
      return;
    }
    const now = this.world.uptime();
    this.faults = [...this.faults.filter((t) => now - t < s.manifest.trapPeriod), now];
    if (this.faults.length >= s.manifest.maxTraps) {
      this.giveUp(this.r.active, REASON.TrapLoop, e.message);
      return;
    }
    this.restarts++;
    const { state } = this.r;
    if (state === STATE.Running) this.set(STATE.Starting, s);
    this.after(50 * 2 ** Math.min(this.faults.length, 7), () => this.run(state !== STATE.Running && state !== STATE.Starting));
  }

  // giveUp ends a revision: back to the other slot, when it can run.
  giveUp(i, reason, text) {
    const { r } = this;
    const s = r.slots[i];
    if (this.deadline) this.cancel(this.deadline);
    s.givenUp = true;
    r.failure = { revision: s.revision, attempt: s.attempt, reason };
    r.trialBoots = 0;
    const active = i === r.active;
    if (active) {
      this.end();
      s.run = false;
      if (r.op && r.op.slot !== i) { // another revision is on its way, and the state speaks of that one
        this.save();
        return;
      }
    }
    r.op = null;
    this.finish(STATUS.Failed, reason, text);
    if (active && this.canRun(1 - i)) {
      r.active = 1 - i;
      this.restarts = 0;
      this.faults = [];
      this.set(STATE.RolledBack, s, reason, text);
      this.run(true);
      return;
    }
    this.set(!active && this.slot()?.run ? STATE.RolledBack : STATE.Failed, s, reason, text);
  }

  // finish sends the second result of a command.
  finish(status, reason, text) {
    if (!this.waiting) return;
    this.world.result(this.waiting, { status, reason, text });
    this.waiting = null;
  }
}
