import type { ComponentChildren } from "preact";
import { useSignalEffect } from "@preact/signals";
import { session } from "../model/api";
import { asksLogin, forget, notices } from "../model/act";
import { lostSince, state } from "../model/live";
import { address } from "../model/router";
import { clock } from "../model/format";
import { LoginDialog } from "../views/Login";
import { Alerts } from "./Alerts";
import { Button } from "./Button";
import { Finder, openFinder } from "./Finder";
import { Glyph, type GlyphName } from "./Icon";
import { StatusLine } from "./StatusLine";
import { Uploads } from "./Uploads";

const links: [to: string, text: string, glyph: GlyphName][] = [
  ["/", "Overview", "home"], ["/boards", "Boards", "boards"], ["/jobs", "Jobs", "jobs"], ["/videos", "Media", "media"],
];
const more: [to: string, text: string][] = [["/streams", "Live"], ["/templates", "Templates"], ["/doctor", "Doctor"], ["/settings", "Settings"]];

const shortcut = /Mac|iP(hone|ad)/.test(navigator.userAgent) ? "⌘K" : "Ctrl K";

function here(to: string): boolean {
  const path = address.value.pathname;
  return to === "/" ? path === "/" : path === to || path.startsWith(to + "/");
}

function NavLink({ to, text }: { to: string; text: string }) {
  return <a href={to} aria-current={here(to) ? "page" : undefined}>{text}</a>;
}

function Header() {
  const user = session.value;
  return (
    <header class="top">
      <a class="brand" href="/"><Brand />pibootd</a>
      <nav aria-label="Main" class="wide-only">
        {links.slice(1).map(([to, text]) => <NavLink key={to} to={to} text={text} />)}
        {more.map(([to, text]) => <NavLink key={to} to={to} text={text} />)}
      </nav>
      <span class="grow" />
      <button type="button" class="find" onClick={openFinder} aria-keyshortcuts="Control+K Meta+K">
        <Glyph name="search" /><span class="wide-only">Search</span><span class="sr narrow-only">Search</span><kbd class="wide-only" aria-hidden="true">{shortcut}</kbd>
      </button>
      <a class="button wide-only" href="/submit"><Glyph name="plus" />Transcode</a>
      <a class="who" href={user ? "/settings" : "/login?from=" + encodeURIComponent(address.value.pathname + address.value.search)}><Glyph name="user" /><span class="wide-only">{user ? user.user : "Log in"}</span><span class="sr narrow-only">{user ? user.user : "Log in"}</span></a>
    </header>
  );
}

function Brand() {
  return (
    <svg viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" fill="var(--accent-fill)" />
      <g fill="var(--on-accent)"><rect x="8" y="8" width="16" height="4" rx="2" /><rect x="8" y="14" width="16" height="4" rx="2" opacity=".8" /><rect x="8" y="20" width="10" height="4" rx="2" opacity=".6" /></g>
    </svg>
  );
}

// On a phone the way to everything is at the thumb.
function BottomBar() {
  return (
    <nav class="bottom narrow-only" aria-label="Main">
      {links.map(([to, text, glyph]) => <a key={to} href={to} aria-current={here(to) ? "page" : undefined}><Glyph name={glyph} />{text}</a>)}
      <a href="/settings" aria-current={more.some(([to]) => here(to)) ? "page" : undefined}><Glyph name="more" />More</a>
    </nav>
  );
}

function Lost() {
  const since = lostSince.value;
  if (!since || !state.value) return null;
  return <p class="lost" role="alert">pibootd does not answer since {clock(since)}. What is shown is from then; it is tried again.</p>;
}

function Notices() {
  return (
    <div class="notices" role="status">
      {notices.value.map((notice) => (
        <div key={notice.id} class={"notice" + (notice.bad ? " bad" : "")}>
          <span>{notice.text}</span>
          {notice.undo && <Button onPress={async () => { forget(notice.id); await notice.undo?.(); }}>Undo</Button>}
          <Button icon="close" label="Close" look="quiet" onPress={() => forget(notice.id)} />
        </div>
      ))}
    </div>
  );
}

// The Frame is around every view: the way to the others, and whether all is well.
export function Frame({ children, bare = false }: { children: ComponentChildren; bare?: boolean }) {
  useSignalEffect(() => { document.documentElement.classList.toggle("is-lost", lostSince.value !== undefined && state.value !== undefined); });
  return (
    <>
      <a class="skip" href="#view">Skip to the content</a>
      <Header />
      {!bare && <><StatusLine /><Lost /><Alerts /></>}
      <main id="view" tabIndex={-1}>{children}</main>
      <BottomBar />
      <div class="corner"><Uploads /><Notices /></div>
      <Finder />
      {asksLogin.value && <LoginDialog />}
    </>
  );
}
