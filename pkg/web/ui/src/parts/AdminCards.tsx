import { useEffect, useState } from "preact/hooks";
import { act, attempt, messageOf } from "../model/act";
import { get, Problem, send } from "../model/api";
import { count, exact } from "../model/format";
import { Button } from "./Button";
import { Confirm } from "./Confirm";
import { CopyLine } from "./Copy";
import { Dialog } from "./Dialog";
import { Empty, Loading } from "./Empty";
import { ChoiceField, TextField } from "./Field";
import { Ago } from "./Time";

interface Token { name: string; scope: string; added: string }
interface Login { id: string; addr: string; since: string; expires: string; own: boolean }
interface Change { id: number; at: string; who: string; addr?: string; method: string; path: string; status: number; detail?: string }
type Config = Record<string, unknown>;

interface Loaded { tokens: Token[]; logins: Login[]; changes: Change[]; config: Config }

const scopeWords: Record<string, string> = { read: "looks", submit: "hands videos in", admin: "changes everything" };

// AdminCards are what only the admin sees: tokens, sessions, who changed what, and the configuration.
export function AdminCards() {
  const [all, setAll] = useState<Loaded | undefined>(undefined);
  const [problem, setProblem] = useState<{ text: string; login: boolean } | undefined>(undefined);
  const load = async () => {
    const [tokens, logins, changes, config] = await Promise.all([get<Token[]>("tokens"), get<Login[]>("sessions"), get<Change[]>("audit"), get<Config>("config")]);
    setProblem(undefined);
    setAll({ tokens, logins, changes, config });
  };
  const tell = (error: unknown) => setProblem({ text: messageOf(error), login: error instanceof Problem && (error.status === 401 || error.status === 403) });
  const reload = () => { void load().catch(tell); };
  useEffect(reload, []);
  if (problem) {
    return <section class="card"><Empty title={problem.login ? "More is for the admin." : problem.text}>{problem.login && <><p>Tokens, sessions, who changed what, and the configuration.</p><Button onPress={() => attempt(load).catch(tell)}>Log in</Button></>}</Empty></section>;
  }
  if (!all) return <section class="card"><Loading rows={2} /></section>;
  return (
    <>
      <div class="halves">
        <Tokens tokens={all.tokens} onChange={reload} />
        <Logins logins={all.logins} onChange={reload} />
      </div>
      <Changes changes={all.changes} />
      <Configuration config={all.config} />
    </>
  );
}

function Tokens({ tokens, onChange }: { tokens: Token[]; onChange: () => void }) {
  const [adding, setAdding] = useState(false);
  const [revoked, setRevoked] = useState<Token | undefined>(undefined);
  return (
    <section class="card" aria-labelledby="tokens">
      <header class="head"><h2 id="tokens">Tokens</h2><span class="grow" /><Button icon="plus" onPress={() => setAdding(true)}>Add a token</Button></header>
      <ul class="rows plain">
        {tokens.map((one) => <li key={one.name} class="line"><b class="clip">{one.name}</b><span class="grow muted clip">{scopeWords[one.scope] ?? one.scope}</span><span class="muted"><Ago at={one.added} /></span><Button icon="trash" label={"Revoke " + one.name} look="quiet" onPress={() => setRevoked(one)} /></li>)}
      </ul>
      {tokens.length === 0 && <p class="muted">Programs use the API by a token. There is none yet.</p>}
      {adding && <AddToken onClose={() => { setAdding(false); onChange(); }} />}
      {revoked && <Confirm title={`Revoke ${revoked.name}?`} lost="Whoever uses it is refused from now on. It cannot be shown or used again." word="Revoke" done="Revoked." onClose={() => { setRevoked(undefined); onChange(); }} run={() => send("DELETE", "tokens/" + encodeURIComponent(revoked.name))} />}
    </section>
  );
}

function AddToken({ onClose }: { onClose: () => void }) {
  const [name, setName] = useState("");
  const [scope, setScope] = useState("read");
  const [made, setMade] = useState("");
  const [wrong, setWrong] = useState<{ text: string; field?: string | undefined }>({ text: "" });
  const add = async () => {
    try {
      setMade((await attempt(() => send<{ token: string }>("POST", "tokens", { name, scope }))).token);
    } catch (error) {
      setWrong({ text: messageOf(error), field: error instanceof Problem ? error.field : undefined });
    }
  };
  if (made) {
    return (
      <Dialog title={`The token ${name}`} onClose={onClose}>
        <p>Copy it now: it is not shown again.</p>
        <CopyLine label="Token" text={made} />
        <p class="muted">Programs send it as <code>Authorization: Bearer TOKEN</code>.</p>
        <footer><Button look="primary" onPress={onClose}>Done</Button></footer>
      </Dialog>
    );
  }
  return (
    <Dialog title="Add a token" onClose={onClose}>
      <form class="stack" onSubmit={(event) => { event.preventDefault(); void add(); }}>
        <TextField label="Name" value={name} onChange={setName} required focus placeholder="grafana" problem={wrong.field === "name" ? wrong.text : undefined} />
        <ChoiceField label="It may" value={scope} onChange={setScope} options={[["read", "look: read everything"], ["submit", "hand videos in, too"], ["admin", "change everything"]]} />
        {wrong.text && wrong.field !== "name" && <p class="problem" role="alert">{wrong.text}</p>}
        <footer><Button onPress={onClose}>Cancel</Button><Button look="primary" submit>Add</Button></footer>
      </form>
    </Dialog>
  );
}

function Logins({ logins, onChange }: { logins: Login[]; onChange: () => void }) {
  const end = async (one: Login) => { await act(() => send("DELETE", "sessions/" + one.id), "It is logged out."); onChange(); };
  return (
    <section class="card" aria-labelledby="logins">
      <header class="head"><h2 id="logins">Browsers that are logged in</h2></header>
      <ul class="rows plain">
        {logins.map((one) => <li key={one.id} class="line"><b class="num">{one.addr}</b><span class="grow muted clip">{one.own ? "this one" : <>since <Ago at={one.since} /></>}</span><span class="muted">until {exact(new Date(one.expires))}</span>{!one.own && <Button icon="close" label={"Log out the browser at " + one.addr} look="quiet" onPress={() => end(one)} />}</li>)}
      </ul>
      {logins.length === 0 && <p class="muted">None.</p>}
    </section>
  );
}

const first = 12;

// Changes says who changed what, the latest first.
function Changes({ changes }: { changes: Change[] }) {
  const [all, setAll] = useState(false);
  return (
    <section class="card" aria-labelledby="changes">
      <header class="head"><h2 id="changes">Who changed what</h2></header>
      <ul class="rows">
        {changes.slice(0, all ? undefined : first).map((one) => (
          <li key={one.id} class="row change">
            <span class="muted"><Ago at={one.at} /></span>
            <span class="clip">{one.who || "nobody"}{one.addr && <span class="muted num"> {one.addr}</span>}</span>
            <span class="break"><code>{one.method} {one.path.replace("/api/v1/", "")}</code>{one.detail && <span class="muted"> {one.detail}</span>}</span>
            <span class={"num end " + (one.status >= 400 ? "is-failed" : "muted")}>{one.status >= 400 ? "refused" : "done"}</span>
          </li>
        ))}
      </ul>
      {changes.length === 0 && <p class="muted">Nothing has been changed yet.</p>}
      {!all && changes.length > first && <p class="foot"><Button look="quiet" onPress={() => setAll(true)}>{`Show ${count(changes.length - first, "more", "more")}`}</Button></p>}
    </section>
  );
}

const shown = (value: unknown): string => (Array.isArray(value) ? value.join(", ") || "none" : value === "" ? "not set" : String(value));

function Configuration({ config }: { config: Config }) {
  const keys = Object.entries(config).flatMap(([section, value]): [string, unknown][] => (typeof value === "object" && value !== null && !Array.isArray(value) ? Object.entries(value as Config).map(([key, one]) => [`${section}.${key}`, one]) : [[section, value]]));
  return (
    <details class="card config">
      <summary><h2>Configuration</h2><span class="muted">as pibootd runs with it</span></summary>
      <p class="muted">It is read from <code>/etc/pibootd.toml</code> when pibootd starts. <code>pibootd config example</code> explains each key.</p>
      <dl class="keys">{keys.map(([key, value]) => <div key={key}><dt><code>{key}</code></dt><dd class="break">{shown(value)}</dd></div>)}</dl>
    </details>
  );
}
