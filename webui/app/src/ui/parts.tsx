import * as RDialog from "@radix-ui/react-dialog";
import * as RMenu from "@radix-ui/react-dropdown-menu";
import * as RTabs from "@radix-ui/react-tabs";
import * as RTooltip from "@radix-ui/react-tooltip";
import { useEffect, useId, useState, type ButtonHTMLAttributes, type MouseEvent, type ReactNode } from "react";
import { Link } from "wouter";
import { Problem } from "../api/client";
import { ownLabel } from "../api/types";
import { ago, dateTime } from "./format";
import { Icon, type IconName } from "./icon";

export type Tone = "ok" | "info" | "warn" | "bad" | "idle";

/** A button. With why it does nothing and says so: it can still be reached, and read. */
export function Button({ tone, icon, busy, small, why, children, ...rest }: ButtonHTMLAttributes<HTMLButtonElement> & { tone?: "primary" | "danger" | "plain"; icon?: IconName; busy?: boolean; small?: boolean; why?: string }) {
  const off = why ? { "aria-disabled": true, title: why, onClick: (e: MouseEvent) => e.preventDefault() } : {};
  return (
    <button type="button" {...rest} {...off} disabled={!why && (rest.disabled || busy)} aria-busy={busy || undefined} className={`button ${tone ?? ""} ${small ? "small" : ""} ${rest.className ?? ""}`}>
      {busy ? <span className="spin" aria-hidden="true" /> : icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

/** A link that looks like a button; with why it leads nowhere and says so. */
export function LinkButton({ href, tone, icon, why, children }: { href: string; tone?: "primary"; icon?: IconName; why?: string; children: ReactNode }) {
  const inside = (
    <>
      {icon && <Icon name={icon} />}
      {children}
    </>
  );
  return why ? (
    <span className={`button ${tone ?? ""}`} role="link" aria-disabled="true" tabIndex={0} title={why}>
      {inside}
    </span>
  ) : (
    <Link className={`button ${tone ?? ""}`} href={href}>
      {inside}
    </Link>
  );
}

export function IconButton({ label, icon, ...rest }: ButtonHTMLAttributes<HTMLButtonElement> & { label: string; icon: IconName }) {
  return (
    <Hint text={label}>
      <button type="button" {...rest} aria-label={label} className={`icon-button ${rest.className ?? ""}`}>
        <Icon name={icon} />
      </button>
    </Hint>
  );
}

export function Badge({ tone = "idle", children, title }: { tone?: Tone; children: ReactNode; title?: string }) {
  return (
    <span className={`badge ${tone}`} title={title}>
      {children}
    </span>
  );
}

export function Dot({ tone, label }: { tone: Tone; label: string }) {
  return (
    <span className="dot-word">
      <span className={`dot ${tone}`} aria-hidden="true" />
      {label}
    </span>
  );
}

export function Panel({ title, actions, children, className = "", flush }: { title?: ReactNode; actions?: ReactNode; children: ReactNode; className?: string; flush?: boolean }) {
  const id = useId();
  return (
    <section className={`panel ${className}`} aria-labelledby={title ? id : undefined}>
      {title && (
        <header className="panel-head">
          <h2 id={id}>{title}</h2>
          {actions && <div className="row">{actions}</div>}
        </header>
      )}
      <div className={flush ? "panel-body flush" : "panel-body"}>{children}</div>
    </section>
  );
}

export function PageHead({ title, sub, actions, crumbs }: { title: ReactNode; sub?: ReactNode; actions?: ReactNode; crumbs?: ReactNode }) {
  return (
    <header className="page-head">
      <div>
        {crumbs && (
          <nav className="crumbs" aria-label="Breadcrumb">
            {crumbs}
          </nav>
        )}
        <h1>{title}</h1>
        {sub && <div className="page-sub">{sub}</div>}
      </div>
      {actions && <div className="row wrap">{actions}</div>}
    </header>
  );
}

/** An error with its cause and its mend. */
export function ProblemBox({ error, retry, title }: { error: unknown; retry?: () => void; title?: string }) {
  const p = error instanceof Problem ? error : null;
  const o = !p && error && typeof error === "object" ? (error as { detail?: string; mend?: string; message?: string }) : null;
  const tone = p?.status === 501 || p?.status === 404 ? "info" : "bad";
  return (
    <div className={`problem ${tone}`} role="alert">
      <Icon name={tone === "bad" ? "bad" : "info"} size={20} />
      <div>
        <strong>{title ?? (p?.status === 403 ? "You may not see this" : p?.status === 0 ? "No connection" : p?.status === 501 ? "Not available here" : "This did not work")}</strong>
        <div>{p?.detail ?? o?.detail ?? o?.message ?? String(error)}</div>
        {(p?.mend ?? o?.mend) && <div className="mend">{p?.mend ?? o?.mend}</div>}
        {retry && (
          <Button small icon="refresh" onClick={retry}>
            Try again
          </Button>
        )}
      </div>
    </div>
  );
}

export function Empty({ icon = "info", title, children, action }: { icon?: IconName; title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <div className="empty">
      <Icon name={icon} size={32} />
      <h3>{title}</h3>
      {children && <div className="muted">{children}</div>}
      {action && <div className="row center">{action}</div>}
    </div>
  );
}

export function Loading({ lines = 3, label = "Loading" }: { lines?: number; label?: string }) {
  return (
    <div className="skeletons" role="status" aria-label={label}>
      {Array.from({ length: lines }, (_, i) => (
        <div key={i} className={`skeleton s${i % 3}`} />
      ))}
    </div>
  );
}

export function Hint({ text, children }: { text: ReactNode; children: ReactNode }) {
  return (
    <RTooltip.Root delayDuration={300}>
      <RTooltip.Trigger asChild>{children}</RTooltip.Trigger>
      <RTooltip.Portal>
        <RTooltip.Content className="tooltip" sideOffset={6} collisionPadding={8}>
          {text}
        </RTooltip.Content>
      </RTooltip.Portal>
    </RTooltip.Root>
  );
}

export function Dialog({ open, onOpenChange, title, sub, children, wide }: { open: boolean; onOpenChange: (o: boolean) => void; title: string; sub?: ReactNode; children: ReactNode; wide?: boolean }) {
  return (
    <RDialog.Root open={open} onOpenChange={onOpenChange}>
      <RDialog.Portal>
        <RDialog.Overlay className="overlay" />
        <RDialog.Content
          onOpenAutoFocus={(e) => {
            const first = (e.currentTarget as HTMLElement).querySelector<HTMLElement>("input:not([type=radio]):not([type=checkbox]), select, textarea");
            if (!first) return;
            e.preventDefault();
            first.focus();
          }}
          className={`dialog ${wide ? "wide" : ""}`} {...(sub ? {} : { "aria-describedby": undefined })}>
          <div className="dialog-head">
            <RDialog.Title asChild>
              <h2>{title}</h2>
            </RDialog.Title>
            <RDialog.Close asChild>
              <button className="icon-button" aria-label="Close">
                <Icon name="x" />
              </button>
            </RDialog.Close>
          </div>
          {sub && (
            <RDialog.Description asChild>
              <div className="muted">{sub}</div>
            </RDialog.Description>
          )}
          {children}
        </RDialog.Content>
      </RDialog.Portal>
    </RDialog.Root>
  );
}

/** Asks before something that cannot be taken back, or that many will notice. */
export function Confirm({ open, onOpenChange, title, children, word, danger, busy, why, onConfirm }: { why?: string; open: boolean; onOpenChange: (o: boolean) => void; title: string; children: ReactNode; word: string; danger?: boolean; busy?: boolean; onConfirm: () => void }) {
  return (
    <Dialog open={open} onOpenChange={onOpenChange} title={title}>
      <div className="stack">{children}</div>
      <div className="row end">
        <Button onClick={() => onOpenChange(false)}>Cancel</Button>
        <Button tone={danger ? "danger" : "primary"} busy={busy} why={why} onClick={onConfirm}>
          {word}
        </Button>
      </div>
    </Dialog>
  );
}

export interface MenuItem {
  label: string;
  icon?: IconName;
  danger?: boolean;
  disabled?: boolean;
  why?: string; // shown when it is disabled
  forbidden?: string; // why the reader may not
  onSelect: () => void;
}

export function Menu({ label, icon = "more", items, trigger }: { label: string; icon?: IconName; items: (MenuItem | null)[]; trigger?: ReactNode }) {
  return (
    <RMenu.Root modal={false}>
      <RMenu.Trigger asChild>
        {trigger ?? (
          <button type="button" className="icon-button" aria-label={label}>
            <Icon name={icon} />
          </button>
        )}
      </RMenu.Trigger>
      <RMenu.Portal>
        <RMenu.Content className="menu" align="end" sideOffset={4} collisionPadding={8}>
          {items.map((it, i) =>
            it ? (
              <RMenu.Item key={it.label} className={`menu-item ${it.danger ? "danger" : ""}`} disabled={it.disabled || !!it.forbidden} onSelect={it.onSelect}>
                {it.icon && <Icon name={it.icon} />}
                <span>
                  {it.label}
                  {(it.forbidden || (it.disabled && it.why)) && <span className="small muted block">{it.forbidden || it.why}</span>}
                </span>
              </RMenu.Item>
            ) : (
              <RMenu.Separator key={i} className="menu-line" />
            ),
          )}
        </RMenu.Content>
      </RMenu.Portal>
    </RMenu.Root>
  );
}

export function Tabs({ label, tabs, value, onChange }: { label: string; tabs: { id: string; title: ReactNode; body: ReactNode }[]; value: string; onChange: (v: string) => void }) {
  return (
    <RTabs.Root value={value} onValueChange={onChange}>
      <RTabs.List className="tabs" aria-label={label}>
        {tabs.map((t) => (
          <RTabs.Trigger key={t.id} value={t.id} className="tab">
            {t.title}
          </RTabs.Trigger>
        ))}
      </RTabs.List>
      {tabs.map((t) => (
        <RTabs.Content key={t.id} value={t.id} className="tab-body" tabIndex={-1}>
          {t.body}
        </RTabs.Content>
      ))}
    </RTabs.Root>
  );
}

export function Field({ label, help, error, children }: { label: string; help?: ReactNode; error?: string; children: (id: string) => ReactNode }) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {children(id)}
      {error ? (
        <div className="field-error" role="alert">
          {error}
        </div>
      ) : (
        help && <div className="help">{help}</div>
      )}
    </div>
  );
}

export function Facts({ items }: { items: [string, ReactNode][] }) {
  return (
    <dl className="facts">
      {items.map(([k, v]) => (
        <div key={k}>
          <dt>{k}</dt>
          <dd>{v ?? "–"}</dd>
        </div>
      ))}
    </dl>
  );
}

/** A time as people say it, which goes on by itself; the exact one is its title. */
export function Ago({ at }: { at?: string }) {
  const [, tick] = useState(0);
  useEffect(() => {
    const t = setInterval(() => tick((n) => n + 1), 5000);
    return () => clearInterval(t);
  }, []);
  if (!at) return <span className="muted">never</span>;
  return (
    <time dateTime={at} title={dateTime(at)}>
      {ago(at)}
    </time>
  );
}

export function Labels({ labels }: { labels?: Record<string, string> }) {
  const all = Object.entries(labels ?? {}).filter(([k]) => !ownLabel(k));
  if (!all.length) return <span className="muted">none</span>;
  return (
    <span className="chips">
      {all.map(([k, v]) => (
        <span key={k} className="chip" title={`${k}=${v}`}>
          {k}={v}
        </span>
      ))}
    </span>
  );
}

export function Copyable({ text, short }: { text: string; short?: number }) {
  const [done, setDone] = useState(false);
  const shown = short && text.length > short ? text.slice(0, short) + "…" : text;
  return (
    <button
      type="button"
      className="copyable mono"
      title={`${text} – click to copy`}
      onClick={() =>
        void navigator.clipboard?.writeText(text).then(() => {
          setDone(true);
          setTimeout(() => setDone(false), 1200);
        })
      }
    >
      {done ? "copied" : shown}
    </button>
  );
}
