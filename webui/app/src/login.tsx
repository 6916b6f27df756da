import { useState, type FormEvent } from "react";
import { login, Problem, type Session } from "./api/client";
import { Button, Field, ProblemBox } from "./ui/parts";

/** Exchanges a Kubernetes token for a session. */
export function Login({ refused, onDone }: { refused?: Problem; onDone: (s: Session) => void }) {
  const [token, setToken] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const submit = async (e: FormEvent) => {
    e.preventDefault();
    setBusy(true);
    setError(undefined);
    try {
      onDone(await login({ token: token.trim() }));
    } catch (x) {
      setError(x instanceof Problem ? x.detail : String(x));
    } finally {
      setBusy(false);
    }
  };
  return (
    <main className="login">
      <form className="panel" onSubmit={(e) => void submit(e)}>
        <div className="row">
          <img src="/icon.svg" alt="" width={34} height={34} />
          <h1>Wasmbed</h1>
        </div>
        <p className="muted">WebAssembly modules on microcontrollers: deployed, watched and mended from here.</p>
        {refused && <ProblemBox error={refused} title="The link did not log in" />}
        <Field label="Kubernetes token" error={error} help="kubectl create token NAME makes one.">
          {(id) => <input id={id} className="input mono" type="password" autoComplete="off" spellCheck={false} autoFocus required value={token} onChange={(e) => setToken(e.target.value)} />}
        </Field>
        <Button tone="primary" type="submit" busy={busy} disabled={!token.trim()} icon="lock">
          Log in
        </Button>
        <p className="help">
          Started with <code>make run</code>? It printed a link that logs in once; <code>bin/standalone link</code> prints another, and <code>.wasmbed/token</code> holds an administrator&apos;s token. The token stays on the server: the browser gets a cookie.
        </p>
      </form>
    </main>
  );
}
