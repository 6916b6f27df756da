import type { Problem as ProblemShape } from "./words";

export type { ProblemShape };

/** What can be followed over the one WebSocket of this page. */
export interface Topic {
  topic: "devices" | "events" | "telemetry" | "logs";
  namespace?: string;
  name?: string;
  after?: string;
}

export interface Handler {
  /** items came; lagged: there was more than is told, read again. */
  items: (items: unknown[], lagged: boolean) => void;
  error?: (p: ProblemShape) => void;
}

export type LiveState = "connecting" | "live" | "off";

interface Message {
  id?: string;
  cursor?: string;
  items?: unknown[];
  lagged?: boolean;
  error?: ProblemShape;
}

const firstPause = 400; // ms until the first new try; doubled up to maxPause
const maxPause = 8000;

/** The WebSocket to /api/v1/ws: topics are resumed behind their cursors after a break. */
export class Live {
  private ws: WebSocket | null = null;
  private subs = new Map<string, { topic: Topic; handler: Handler; cursor?: string }>();
  private seq = 0;
  private pause = firstPause;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private watchers = new Set<() => void>();
  private ended = false;
  state: LiveState = "off";

  /** Follows a topic; returns what ends that. */
  subscribe(topic: Topic, handler: Handler): () => void {
    const id = `${topic.topic}-${++this.seq}`;
    this.subs.set(id, { topic, handler, cursor: topic.after });
    if (this.ws?.readyState === WebSocket.OPEN) this.ask(id);
    else this.connect();
    return () => {
      this.subs.delete(id);
      if (this.ws?.readyState === WebSocket.OPEN) this.ws.send(JSON.stringify({ unsubscribe: [id] }));
    };
  }

  watch = (f: () => void): (() => void) => {
    this.watchers.add(f);
    return () => this.watchers.delete(f);
  };

  close() {
    this.ended = true;
    clearTimeout(this.timer);
    this.ws?.close();
  }

  private say(s: LiveState) {
    if (s === this.state) return;
    this.state = s;
    for (const f of this.watchers) f();
  }

  private ask(id: string) {
    const s = this.subs.get(id);
    if (s) this.ws?.send(JSON.stringify({ subscribe: [{ ...s.topic, id, after: s.cursor }] }));
  }

  private connect() {
    if (this.ws || this.ended) return;
    clearTimeout(this.timer);
    this.say("connecting");
    const ws = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/ws`);
    this.ws = ws;
    ws.onopen = () => {
      this.pause = firstPause;
      this.say("live");
      for (const id of this.subs.keys()) this.ask(id);
    };
    ws.onmessage = (e) => this.take(JSON.parse(String(e.data)) as Message);
    ws.onclose = () => {
      this.ws = null;
      if (this.ended) return;
      this.say("off");
      this.timer = setTimeout(() => this.connect(), this.pause * (0.7 + 0.6 * Math.random()));
      this.pause = Math.min(2 * this.pause, maxPause);
    };
  }

  private take(m: Message) {
    const s = m.id ? this.subs.get(m.id) : undefined;
    if (!s || !m.id) return;
    if (m.error) {
      if (s.cursor && m.error.code === "invalid") {
        s.cursor = undefined; // the platform was made anew: begin from now, and read again
        s.handler.items([], true);
        this.ask(m.id);
        return;
      }
      s.handler.error?.(m.error);
      return;
    }
    if (m.cursor) s.cursor = m.cursor;
    if (m.items?.length || m.lagged) s.handler.items(m.items ?? [], m.lagged ?? false);
  }
}
