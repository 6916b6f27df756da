import * as RTooltip from "@radix-ui/react-tooltip";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { login, onSessionLost, Problem, session, takeCode, type Session } from "./api/client";
import { Login } from "./login";
import { LiveProvider } from "./live/context";
import { Shell } from "./shell";
import { Loading, ProblemBox } from "./ui/parts";
import { Toasts } from "./ui/toast";

const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 1000,
      refetchOnWindowFocus: true,
      retry: (n, e) => !(e instanceof Problem && e.status >= 400 && e.status < 500) && !(e instanceof Problem && e.status === 501) && n < 2,
      retryDelay: (n) => Math.min(500 * 2 ** n, 4000),
    },
  },
});

type State = { is: "asking" } | { is: "out"; refused?: Problem } | { is: "in"; session: Session } | { is: "broken"; error: unknown };

/** Who is here: by the link that was opened, else by the cookie. A link that is over does not end a session that lives. */
async function enter(code: string): Promise<{ session: Session } | { refused?: Problem }> {
  let refused: Problem | undefined;
  if (code) {
    try {
      return { session: await login({ code }) };
    } catch (e) {
      if (!(e instanceof Problem) || e.status === 0 || e.status >= 500) throw e;
      refused = e;
    }
  }
  try {
    return { session: await session() };
  } catch (e) {
    if (e instanceof Problem && e.status === 401) return { refused };
    throw e;
  }
}

const linked = takeCode();
let first: ReturnType<typeof enter> | undefined; // a code is exchanged once, however often this is drawn

/** Asks who is here, and shows the login or the dashboard. */
export function App() {
  const [state, setState] = useState<State>({ is: "asking" });
  const [tries, again] = useState(0);
  useEffect(() => {
    let on = true;
    const asked = tries === 0 ? (first ??= enter(linked)) : enter(linked);
    asked.then(
      (r) => on && setState("session" in r ? { is: "in", session: r.session } : { is: "out", refused: r.refused }),
      (e: unknown) => on && setState({ is: "broken", error: e }),
    );
    return () => void (on = false);
  }, [tries]);
  useEffect(() => {
    if (state.is !== "broken") return;
    const t = setTimeout(() => again((n) => n + 1), 3000);
    return () => clearTimeout(t);
  }, [state]);
  useEffect(() => {
    const another = () => location.hash.includes("code=") && location.reload(); // a link, pasted into this very page
    addEventListener("hashchange", another);
    return () => removeEventListener("hashchange", another);
  }, []);
  useEffect(
    () =>
      onSessionLost(() => {
        client.clear();
        setState({ is: "out" });
      }),
    [],
  );
  switch (state.is) {
    case "asking":
      return (
        <div className="login">
          <Loading label="Opening the dashboard" />
        </div>
      );
    case "broken":
      return (
        <div className="login">
          <ProblemBox error={state.error} retry={() => again((n) => n + 1)} />
        </div>
      );
    case "out":
      return <Login refused={state.refused} onDone={(s) => setState({ is: "in", session: s })} />;
  }
  return (
    <QueryClientProvider client={client}>
      <RTooltip.Provider>
        <Toasts>
          <LiveProvider>
            <Shell
              user={state.session.user}
              onLogout={() => {
                client.clear();
                setState({ is: "out" });
              }}
            />
          </LiveProvider>
        </Toasts>
      </RTooltip.Provider>
    </QueryClientProvider>
  );
}
