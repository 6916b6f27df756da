import { lazy, Suspense, useEffect, useRef, useState } from "react";
import { Link, Redirect, Route, Router, Switch, useLocation } from "wouter";
import { logout } from "./api/client";
import { useEnrollments, useOverview, useWhoAmI } from "./api/hooks";
import { FeedProvider, useLiveState } from "./live/context";
import { NamespaceContext } from "./namespace";
import { Overview } from "./pages/overview";
import { Devices } from "./pages/devices";
import { Icon, type IconName } from "./ui/icon";
import { Badge, Dot, Empty, Hint, IconButton, Loading, Menu, ProblemBox } from "./ui/parts";
import { useTheme } from "./ui/theme";

const DevicePage = lazy(() => import("./pages/device"));
const Applications = lazy(() => import("./pages/applications"));
const ApplicationPage = lazy(() => import("./pages/application"));
const EditApplication = lazy(() => import("./pages/edit"));
const Guided = lazy(() => import("./pages/guided"));
const Enrollment = lazy(() => import("./pages/enrollment"));
const Gateways = lazy(() => import("./pages/gateways"));
const Boards = lazy(() => import("./pages/boards"));
const Topology = lazy(() => import("./pages/topology"));
const Events = lazy(() => import("./pages/events"));
const TracePage = lazy(() => import("./pages/trace"));
const Monitoring = lazy(() => import("./pages/monitoring"));
const Terminal = lazy(() => import("./pages/terminal"));
const Webhooks = lazy(() => import("./pages/webhooks"));
const Setup = lazy(() => import("./pages/setup"));

const nav: { group: string; items: { to: string; title: string; icon: IconName }[] }[] = [
  {
    group: "Fleet",
    items: [
      { to: "/", title: "Overview", icon: "overview" },
      { to: "/devices", title: "Devices", icon: "device" },
      { to: "/applications", title: "Applications", icon: "app" },
      { to: "/deploy", title: "Deploy a module", icon: "deploy" },
      { to: "/enrollment", title: "Enrollment", icon: "enroll" },
      { to: "/topology", title: "Topology", icon: "topology" },
    ],
  },
  {
    group: "Platform",
    items: [
      { to: "/gateways", title: "Gateways", icon: "gateway" },
      { to: "/boards", title: "Boards", icon: "board" },
      { to: "/events", title: "Functions & events", icon: "events" },
      { to: "/webhooks", title: "Webhooks", icon: "webhook" },
      { to: "/monitoring", title: "Monitoring", icon: "monitor" },
      { to: "/terminal", title: "Terminal", icon: "terminal" },
      { to: "/setup", title: "Initial setup", icon: "setup" },
    ],
  },
];

const nsKey = "wasmbed.namespace";

/** The frame around every page: who, where, and whether it is live. */
export function Shell({ user, onLogout }: { user: string; onLogout: () => void }) {
  const [path] = useLocation();
  const me = useWhoAmI();
  const ns = /^\/n\/([^/]+)/.exec(path)?.[1];
  if (!ns) {
    if (me.isPending) return <Loading />;
    const kept = localStorage.getItem(nsKey);
    const all = me.data?.namespaces ?? [];
    const to = kept && all.includes(kept) ? kept : all.includes("default") || !all[0] ? "default" : all[0];
    return <Redirect to={`/n/${to}/`} replace />;
  }
  const name = decodeURIComponent(ns);
  return (
    <NamespaceContext.Provider value={name}>
      <FeedProvider key={name} ns={name}>
        <Router base={`/n/${ns}`}>
          <Frame ns={name} user={user} onLogout={onLogout} namespaces={me.data?.namespaces ?? []} error={me.error} />
        </Router>
      </FeedProvider>
    </NamespaceContext.Provider>
  );
}

function LiveMark() {
  const state = useLiveState();
  const words = { live: "Live", connecting: "Connecting", off: "Reconnecting" } as const;
  return (
    <Hint text={state === "live" ? "What you see follows the platform by itself" : "The live connection is being made; what you see is read again meanwhile"}>
      <span tabIndex={0} role="status" className="small">
        <Dot tone={state === "live" ? "ok" : "warn"} label={words[state]} />
      </span>
    </Hint>
  );
}

function Frame({ ns, user, namespaces, onLogout, error }: { ns: string; user: string; namespaces: string[]; onLogout: () => void; error: unknown }) {
  const [path] = useLocation();
  const [, go] = useLocation();
  const [theme, turn] = useTheme();
  const [open, setOpen] = useState(false);
  const overview = useOverview(ns);
  const enrollments = useEnrollments(ns);
  const main = useRef<HTMLElement>(null);
  useEffect(() => localStorage.setItem(nsKey, ns), [ns]);
  useEffect(() => {
    setOpen(false);
    main.current?.scrollTo(0, 0);
    const item = nav.flatMap((g) => g.items).find((i) => (i.to === "/" ? path === "/" : path.startsWith(i.to)));
    document.title = `${item?.title ?? "Wasmbed"} · Wasmbed`;
  }, [path]);
  const pending = enrollments.data?.items.length ?? 0;
  const attention = overview.data?.attention.length ?? 0;
  const known = namespaces.includes(ns) ? namespaces : [ns, ...namespaces];
  const full = path === "/devices" || path === "/terminal" || path === "/topology";
  return (
    <div className="shell">
      <a className="skip" href="#main" onClick={(e) => (e.preventDefault(), main.current?.focus())}>
        Skip to the page
      </a>
      <div className={`side ${open ? "open" : ""}`}>
        <Link className="brand" href="/">
          <img src="/icon.svg" alt="" />
          Wasmbed
        </Link>
        <nav className="nav" aria-label="Main">
          {nav.map((g) => (
            <div key={g.group}>
              <div className="nav-group">{g.group}</div>
              {g.items.map((i) => (
                <Link key={i.to} href={i.to} aria-current={(i.to === "/" ? path === "/" : path.startsWith(i.to)) ? "page" : undefined}>
                  <Icon name={i.icon} size={18} />
                  {i.title}
                  {i.to === "/enrollment" && pending > 0 && (
                    <span className="count">
                      <Badge tone="warn">{pending}</Badge>
                    </span>
                  )}
                  {i.to === "/" && attention > 0 && (
                    <span className="count">
                      <Badge tone="warn">{attention}</Badge>
                    </span>
                  )}
                </Link>
              ))}
            </div>
          ))}
        </nav>
      </div>
      <div className="main">
        <header className="top">
          <span className="side-toggle">
            <IconButton label="Navigation" icon="menu" aria-expanded={open} onClick={() => setOpen(!open)} />
          </span>
          <label className="row small">
            <span className="muted">Namespace</span>
            <select className="auto" value={ns} onChange={(e) => go(`~/n/${encodeURIComponent(e.target.value)}/`)}>
              {known.map((n) => (
                <option key={n}>{n}</option>
              ))}
            </select>
          </label>
          <span className="grow" />
          <LiveMark />
          <IconButton label={theme === "dark" ? "Light theme" : "Dark theme"} icon={theme === "dark" ? "sun" : "moon"} onClick={turn} />
          <Menu
            label={`Account of ${user}`}
            icon="user"
            items={[
              { label: user, icon: "user", disabled: true, onSelect: () => undefined },
              { label: "REST API", icon: "link", onSelect: () => void window.open("/api/v1/docs", "_blank", "noopener") },
              null,
              { label: "Log out", icon: "out", onSelect: () => void logout().finally(onLogout) },
            ]}
          />
        </header>
        <main id="main" ref={main} tabIndex={-1} className={`content ${full ? "full" : ""}`}>
          {error ? <ProblemBox error={error} /> : null}
          <Suspense fallback={<Loading />}>
            <Switch>
              <Route path="/" component={Overview} />
              <Route path="/devices" component={Devices} />
              <Route path="/devices/:name">{(p) => <DevicePage key={p.name} name={decodeURIComponent(p.name)} />}</Route>
              <Route path="/applications" component={Applications} />
              <Route path="/applications/new">{() => <EditApplication />}</Route>
              <Route path="/applications/:name/edit">{(p) => <EditApplication key={p.name} name={decodeURIComponent(p.name)} />}</Route>
              <Route path="/applications/:name">{(p) => <ApplicationPage key={p.name} name={decodeURIComponent(p.name)} />}</Route>
              <Route path="/deploy" component={Guided} />
              <Route path="/enrollment" component={Enrollment} />
              <Route path="/gateways" component={Gateways} />
              <Route path="/boards" component={Boards} />
              <Route path="/topology" component={Topology} />
              <Route path="/events" component={Events} />
              <Route path="/events/:id">{(p) => <TracePage key={p.id} id={decodeURIComponent(p.id)} />}</Route>
              <Route path="/monitoring" component={Monitoring} />
              <Route path="/terminal" component={Terminal} />
              <Route path="/webhooks" component={Webhooks} />
              <Route path="/setup" component={Setup} />
              <Route>
                <Empty icon="search" title="There is no such page" action={<Link className="button" href="/">To the overview</Link>} />
              </Route>
            </Switch>
          </Suspense>
        </main>
      </div>
    </div>
  );
}
