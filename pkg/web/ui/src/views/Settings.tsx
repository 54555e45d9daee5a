import { act } from "../model/act";
import { logOut, session, token } from "../model/api";
import { bytes, count } from "../model/format";
import { state } from "../model/live";
import { AdminCards } from "../parts/AdminCards";
import { Button } from "../parts/Button";

const pages: [to: string, text: string, more: string][] = [
  ["/streams", "Live", "streams that are encoded while they are sent"], ["/templates", "Templates", "what boards boot"], ["/doctor", "Doctor", "looks everything over"], ["/submit", "Transcode a video", "from this machine or the media share"],
];

// Versions are those of the workers, where they differ from pibootd's.
function Versions() {
  const all = state.value, own = all?.system?.version;
  const workers = [...Object.values(all?.boards ?? {}), ...Object.values(all?.machines ?? {})].filter((one) => one.online && one.worker);
  const others = workers.filter((one) => one.worker?.hello.version !== own);
  if (workers.length === 0) return null;
  return <><dt>Workers</dt><dd>{count(workers.length, "worker")} online{others.length === 0 ? ", all of this version" : <>, <a href={"/boards/" + (others[0]?.name ?? "")}>{others.length}</a> of another version: {[...new Set(others.map((one) => one.worker?.hello.version ?? "unknown"))].join(", ")}</>}</dd></>;
}

// SettingsPage shows how pibootd runs, and who is logged in. On a phone it is the way
// to what the bar below has no place for.
export function SettingsPage() {
  const system = state.value?.system, user = session.value;
  return (
    <section class="page">
      <header class="title"><h1>Settings</h1></header>
      <ul class="card rows links narrow-only">{pages.map(([to, text, more]) => <li key={to} class="row"><a class="name" href={to}>{text}</a><span class="muted">{more}</span></li>)}</ul>
      <div class="halves">
        <section class="card stack" aria-labelledby="who"><h2 id="who">You</h2>
          <p>{user ? `Logged in as ${user.user}, who may ${user.scope === "admin" ? "change everything" : user.scope === "submit" ? "hand videos in" : "look"}.` : token() ? "This tab has a token." : "Not logged in. Looking is free; changing needs a login."}</p>
          <p>{user || token() ? <Button onPress={() => act(logOut, "Logged out.")}>Log out</Button> : <a class="button" href="/login?from=/settings">Log in</a>}</p>
        </section>
        <section class="card" aria-labelledby="machine"><h2 id="machine">This machine</h2>
          {system && (
            <dl class="facts-list">
              <dt>Version</dt><dd class="break">{system.version}</dd>
              <dt>Network</dt><dd>{system.interface}, <span class="num">{system.network}</span></dd>
              <dt>Media share</dt><dd class="break">{system.media_dir}, <span class="num">{bytes(system.media_free)}</span> free of <span class="num">{bytes(system.media_size)}</span></dd>
              <Versions />
              <dt>State</dt><dd class="break">{system.state_dir}, <span class="num">{bytes(system.state_free)}</span> free of <span class="num">{bytes(system.state_size)}</span></dd>
            </dl>
          )}
        </section>
      </div>
      <AdminCards />
    </section>
  );
}
