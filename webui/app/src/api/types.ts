// The shapes of the REST API (docs/spec/rest.md) that the dashboard reads.

export interface Page<T> {
  items: T[];
  next?: string;
}

export interface Meta {
  name: string;
  namespace?: string;
  uid?: string;
  generation?: number;
  resourceVersion?: string;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
}

export interface Condition {
  type: string;
  status: string;
  reason?: string;
  message?: string;
  lastTransitionTime?: string;
}

export const SETS = ["done", "inflight", "pending", "away", "lost", "held", "failed"] as const;
export type WorkSet = (typeof SETS)[number];

export interface Manifest {
  limits?: { memoryPages?: number; stackBytes?: number; callTimeout?: string; instructions?: number };
  permissions?: string[];
  config?: Record<string, string>;
  timers?: { id: number; period: string }[];
  health?: { window?: string; maxTraps?: number; trapPeriod?: string };
}

export interface DesiredApp {
  revision: string;
  digest: string;
  size: number;
  state: string;
  attempt: number;
  manifest?: Record<string, unknown>;
}

export interface AppState {
  state: string;
  revision: string;
  running?: string;
  confirmed?: boolean;
  reason?: string;
  message?: string;
  restarts?: number;
  progress?: number;
  traps?: number;
}

export interface AppView {
  app: string;
  set?: WorkSet;
  target?: DesiredApp;
  desired?: DesiredApp;
  reported?: AppState;
  paused?: boolean;
  halted?: boolean;
  reason?: string;
  message?: string;
  since?: string;
  deadline?: string;
  traps?: number;
}

export interface DeviceView {
  device: { namespace: string; name: string };
  online: boolean;
  known: boolean;
  board?: string;
  firmware?: string;
  gateway?: string;
  instance?: string;
  bootId?: string;
  serial?: string;
  notAfter?: string;
  epoch?: number;
  lastSeen?: string;
  connectedAt?: string;
  hold?: boolean;
  approved?: boolean;
  labels?: Record<string, string>;
  capabilities?: { moduleMemory: number; moduleSize: number; chunk?: number; frame?: number; apps: number; abi: number; permissions?: string[] };
  desiredVersion?: number;
  seenDesired?: number;
  apps?: AppView[];
}

export interface Emulation {
  backend: string;
  engine?: string;
  state?: string;
  transport?: string;
  resets?: number;
  powerCuts?: number;
}

export interface BoardStatus {
  phase: string;
  backend?: string;
  engine?: string;
  transport?: string;
  endpoint?: string;
  restarts?: number;
  resets?: number;
  powerCuts?: number;
  reason?: string;
  message?: string;
  since?: string;
}

export interface Device {
  metadata: Meta;
  spec: { board: string; approval?: string; hold?: boolean; gateway?: string; identity?: { publicKey?: string; claimDigest?: string }; emulation?: Emulation };
  status?: {
    conditions?: Condition[];
    certificate?: { serial: string; notAfter: string; fingerprint: string };
    board?: BoardStatus;
    lastSeen?: string;
    firmware?: string;
    online?: string;
  };
}

export interface Counts {
  desired: number;
  ready: number;
  running: number;
  updated: number;
  inFlight: number;
  pending: number;
  away: number;
  failed: number;
  held: number;
  lost: number;
  reasons?: Record<string, number>;
  failing?: { device: string; revision: string; reason: string; message?: string }[];
}

export interface Selector {
  matchLabels?: Record<string, string>;
  matchExpressions?: { key: string; operator: string; values?: string[] }[];
}

export interface Targets {
  all?: boolean;
  names?: string[];
  selector?: Selector;
}

export interface Rollout {
  from?: string;
  to?: string;
  state?: string;
  reason?: string;
  message?: string;
  kind?: string;
  startedAt?: string;
  completedAt?: string;
}

export interface Application {
  apiVersion?: string;
  kind?: string;
  metadata: Meta;
  spec: {
    module: { inline?: string; name?: string; oci?: string };
    manifest?: Manifest;
    state?: string;
    targets: Targets;
    rollout?: { batchSize?: number | string; maxUnavailable?: number | string; failureThreshold?: number | string; progressDeadline?: string; automaticRollback?: boolean };
    revisionHistoryLimit?: number;
    paused?: boolean;
  };
  status?: {
    conditions?: Condition[];
    condition?: string;
    revision?: string;
    stableRevision?: string;
    digest?: string;
    rollout?: Rollout;
    desired?: number;
    ready?: number;
    readyDesired?: string;
  } & Partial<Counts>;
}

export interface Revision {
  metadata: Meta;
  spec: { application: string; number: number; module: { name?: string; oci?: string; digest: string; size: number }; manifest?: Manifest; hash: string };
}

export interface Instance {
  id: string;
  namespace: string;
  gateway: string;
  address: string;
  devices: number;
  state: string;
  started: string;
}

export interface Gateway {
  metadata: Meta;
  spec: {
    address: string;
    heartbeat?: string;
    disabled?: boolean;
    pairing?: { until?: string; approval?: string };
    certificate?: { life?: string };
    limits?: { maxDevices?: number; maxFrame?: number; preAuthPerAddress?: number };
    attestation?: { mode?: string; measurements?: { board?: string; firmware?: string; digest: string }[] };
  };
  status?: { conditions?: Condition[]; devices?: number; instances?: { id: string; state: string; devices: number }[] };
}

export interface Attention {
  id: string;
  severity: "critical" | "warning" | "info";
  kind: string;
  name?: string;
  title: string;
  cause?: string;
  mend?: string;
  since?: string;
}

export interface AppSummary {
  name: string;
  revision?: string;
  phase: string;
  message?: string;
  counts?: Counts;
}

export interface Overview {
  time: string;
  devices: { known: number; online: number; offline: number; pending: number; held: number; boards: Record<string, number>; partial?: boolean };
  applications: AppSummary[];
  gateways: Instance[];
  attention: Attention[];
  parts: Record<string, string>;
}

export interface Explanation {
  device: string;
  application: string;
  cause: string;
  reason?: string;
  text: string;
  mend?: string;
  wanted?: string;
  running?: string;
}

export interface Board {
  name: string;
  cpu: string;
  ram: number;
  flash: number;
  transports: string[];
  zephyr?: string;
  renode?: string;
  qemu?: string;
  moduleMemory?: number;
  moduleSize?: number;
  refused?: string;
  truth: string;
  seen?: { status: string; transport?: string; when?: string; with?: string; test?: string; note?: string }[];
}

export interface CloudEvent {
  id: string;
  type: string;
  source: string;
  subject?: string;
  time?: string;
  data?: unknown;
  [extension: string]: unknown;
}

export interface Moment {
  time: string;
  type: string;
  id: string;
  subject: string;
  data?: unknown;
}

export interface FeedEntry {
  shard: number;
  id: string;
  time: string;
  device: { namespace: string; name: string };
  app?: string;
  kind: string;
  from?: string;
  to?: string;
  state?: string;
  reason?: string;
  message?: string;
}

export interface Sample {
  device: string;
  time: string;
  app: string;
  name: string;
  value: number;
}

export interface LogLine {
  device: string;
  time: string;
  app?: string;
  level: number;
  text: string;
}

export interface CommandAnswer {
  command: string;
  status: string;
  reason?: string;
  message?: string;
  payload?: string;
  text?: string;
  duration?: number;
}

export interface Operation {
  id: string;
  listed: boolean;
  finished: boolean;
  total: number;
  counts: Record<string, number>;
  devices: Record<string, string>;
}

export interface Diagnostic {
  file?: string;
  line?: number;
  column?: number;
  severity: "error" | "warning" | "note";
  message: string;
}

export interface Fit {
  board: string;
  fits: boolean;
  reason?: string;
}

export interface Inspection {
  digest: string;
  size: number;
  memoryPages: number;
  functions: number;
  imports: string[];
  exports: string[];
  permissions: string[];
  memory: number;
  problem?: string;
  fits: Fit[];
}

export interface CompileResult {
  module?: string;
  digest?: string;
  size?: number;
  diagnostics: Diagnostic[] | null;
  log?: string;
  compiler: string;
  cached?: boolean;
  seconds: number;
  inspection?: Inspection;
}

export interface Language {
  name: string;
  title: string;
  main: string;
  available: boolean;
  version?: string;
  why?: string;
}

export interface Template {
  name: string;
  title: string;
  description: string;
  language: string;
  files: Record<string, string>;
  permissions: string[];
  timers?: { id: number; period: string }[];
  config?: Record<string, string>;
  functions?: string[];
}

export interface Queue {
  trigger: string;
  waiting: number;
  parked: number;
  dead: number;
}

export interface Letter {
  id: string;
  trigger: string;
  event: CloudEvent;
  attempts: number;
  status?: number;
  reason: string;
  message?: string;
  accepted: string;
  time: string;
}

export interface WhoAmI {
  name: string;
  groups: string[];
  namespaces: string[];
  may: Record<string, boolean>;
}

/** Labels that the platform itself sets: they are shown as what they mean, and are not edited. */
export const ownLabel = (k: string) => k.startsWith("wasmbed.io/") || k.startsWith("app.kubernetes.io/");
