import * as RTooltip from "@radix-ui/react-tooltip";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { onSessionLost, Problem, session, type Session } from "./api/client";
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

type State = { is: "asking" } | { is: "out" } | { is: "in"; session: Session } | { is: "broken"; error: unknown };

/** Asks who is here, and shows the login or the dashboard. */
export function App() {
  const [state, setState] = useState<State>({ is: "asking" });
  const [tries, again] = useState(0);
  useEffect(() => {
    let on = true;
    session().then(
      (s) => on && setState({ is: "in", session: s }),
      (e: unknown) => on && setState(e instanceof Problem && e.status === 401 ? { is: "out" } : { is: "broken", error: e }),
    );
    return () => void (on = false);
  }, [tries]);
  useEffect(() => {
    if (state.is !== "broken") return;
    const t = setTimeout(() => again((n) => n + 1), 3000);
    return () => clearTimeout(t);
  }, [state]);
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
      return <Login onDone={(s) => setState({ is: "in", session: s })} />;
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
