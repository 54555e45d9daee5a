import { useState } from "preact/hooks";
import { asksLogin, messageOf } from "../model/act";
import { checkSession, logIn, noSession, session, setToken } from "../model/api";
import { follow } from "../model/live";
import { address, go, query } from "../model/router";
import { Button } from "../parts/Button";
import { Dialog } from "../parts/Dialog";
import { TextField } from "../parts/Field";

const shortest = 10; // characters, as pibootd wants

// A LoginForm takes the admin's password, makes it by the code of a set-up link, or
// takes a token.
function LoginForm({ onDone }: { onDone: () => void }) {
  const code = address.value.pathname === "/setup" ? address.value.hash.slice(1) : "";
  const may = noSession.value;
  const [password, setPassword] = useState("");
  const [again, setAgain] = useState("");
  const [text, setText] = useState("");
  const [chosen, setChosen] = useState<boolean | undefined>(undefined);
  const maybeToken = !code && may.public === true; // nothing is shown to a tab that has only a token
  const byToken = maybeToken && (chosen ?? may.login === false);
  const [problem, setProblem] = useState("");
  const start = async () => {
    setProblem("");
    if (code && password !== again) {
      setProblem("The two passwords differ.");
      return;
    }
    try {
      if (byToken) setToken(text.trim());
      else await logIn(code ? { password, code } : { password });
      onDone();
    } catch (error) {
      setProblem(messageOf(error));
    }
  };
  const noPassword = may.setup && !code;
  return (
    <form class="stack" onSubmit={(event) => { event.preventDefault(); void start(); }}>
      {noPassword && !byToken && <p>There is no password yet. Make one by the set-up link that pibootd printed at its first start, or by a new one: <code>pibootd admin-link</code>.</p>}
      {may.login === false && <p>A password could be read on the network here.{may.https ? <> Log in at <a href={may.https + (code ? "setup#" + code : "login")}>{may.https}</a>.</> : " Log in on the NAS itself, or by HTTPS."}</p>}
      {code && may.login !== false && <p>Choose a password of at least {shortest} characters for admin.</p>}
      {!byToken && !noPassword && may.login !== false && <TextField label="Password" type="password" value={password} onChange={setPassword} auto={code ? "new-password" : "current-password"} required focus />}
      {code && may.login !== false && <TextField label="The same again" type="password" value={again} onChange={setAgain} auto="new-password" required />}
      {byToken && <TextField label="Token" type="password" value={text} onChange={setText} help="The one in the file of http.upload_token_file, or of pibootd token add. This tab forgets it when it is closed." required focus />}
      {problem && <p class="problem" role="alert">{problem}</p>}
      <footer>
        {maybeToken && <Button look="quiet" onPress={() => setChosen(!byToken)}>{byToken ? "Use a password" : "Use a token"}</Button>}
        {(byToken || !noPassword && may.login !== false) && <Button look="primary" submit>{code ? "Make it" : byToken ? "Use it" : "Log in"}</Button>}
      </footer>
    </form>
  );
}

// within returns a place of the dashboard, whoever wrote the address.
function within(place: string): string {
  return URL.canParse(place, location.href) && new URL(place, location.href).origin === location.origin ? place || "/" : "/";
}

// LoginDialog asks for a login before something that needs one.
export function LoginDialog() {
  const asked = asksLogin.value;
  if (!asked) return null;
  const close = (ok: boolean) => {
    asksLogin.value = undefined;
    asked.then(ok);
  };
  return (
    <Dialog title="Log in" onClose={() => close(false)}>
      <p class="muted">{asked.why}</p>
      <LoginForm onDone={() => close(true)} />
    </Dialog>
  );
}

// LoginPage asks for a login, and then shows what was asked for: where it stands in the
// place of another view, that one.
export function LoginPage() {
  const isPlace = ["/login", "/setup"].includes(address.value.pathname);
  const done = async () => {
    await checkSession();
    if (isPlace) go(within(query("from")));
    follow();
  };
  if (session.value) return <section class="card narrow"><h1>Logged in</h1><p>You are {session.value.user}. <a href="/">Go to the overview</a></p></section>;
  return <section class="card narrow"><h1>{address.value.pathname === "/setup" ? "Set pibootd up" : "Log in"}</h1><LoginForm onDone={() => void done()} /></section>;
}
