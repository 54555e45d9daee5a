import { signal } from "@preact/signals";
import { authHeaders, setToken, token } from "./api";
import { serverEvents, type ServerEvent } from "./events";
import { patched, type Json } from "./patch";
import type { State } from "./types";

const empty: State = { boards: {}, machines: {}, discovered: {}, jobs: {}, media: {}, templates: {}, operations: {}, trash: {}, streams: {} };

// What pibootd has; undefined until the first snapshot has come.
export const state = signal<State | undefined>(undefined);

// Since when there is no connection; undefined while there is one.
export const lostSince = signal<Date | undefined>(undefined);

// Whether pibootd asks for a login before it shows anything.
export const locked = signal(false);

const retryAfter = [500, 1000, 3000]; // ms, the last one again and again
const silentFor = 40000; // ms; pibootd says something every 15 s
const hiddenFor = 60000; // ms, after which a page that nobody sees lets go of its connection

let source: AbortController | undefined;
let last = "";
let waiting: number[] = [];
let tries = 0; // since something was received

// Changes that come together are shown together.
function apply(change: (before: State) => State): void {
  pending.push(change);
  if (pending.length > 1) return;
  queueMicrotask(() => {
    let next = state.peek() ?? empty;
    for (const one of pending) next = one(next);
    pending = [];
    state.value = next;
  });
}
let pending: ((before: State) => State)[] = [];

function receive(event: ServerEvent): void {
  const data = JSON.parse(event.data) as Json;
  last = event.id;
  lostSince.value = undefined;
  tries = 0;
  locked.value = false;
  apply((before) => patched(event.name === "snapshot" ? empty : before, data) as unknown as State);
}

// follow opens the stream of changes, and opens it again whenever it ends, from where it was.
export function follow(): void {
  stop();
  const mine = source = new AbortController();
  void read(mine.signal).catch(() => false).then((again) => {
    if (mine.signal.aborted) return;
    source = undefined;
    if (again === undefined) return;
    lostSince.value ??= new Date();
    waiting.push(window.setTimeout(follow, retryAfter[Math.min(tries++, retryAfter.length - 1)]));
  });
}

// read follows the stream until it ends. Without a result, it waits for a login.
async function read(abort: AbortSignal): Promise<false | undefined> {
  const dead = new AbortController();
  let timer = 0;
  const heard = () => { clearTimeout(timer); timer = window.setTimeout(() => dead.abort(), silentFor); };
  heard();
  const answer = await fetch("/api/v1/live" + (last ? "?after=" + encodeURIComponent(last) : ""), { headers: authHeaders(), signal: AbortSignal.any([abort, dead.signal]) });
  if (answer.status === 401 && token()) {
    setToken(""); // it was revoked; what is public can be seen without one
    return false;
  }
  if (answer.status === 401 || answer.status === 403) {
    locked.value = true;
    return undefined;
  }
  if (answer.ok && answer.body) for await (const event of serverEvents(answer.body, heard)) receive(event);
  return false;
}

function stop(): void {
  source?.abort();
  source = undefined;
  waiting.forEach(clearTimeout);
  waiting = [];
}

// Browsers allow six connections to one host, so that hidden pages do without, and
// pages that are left too, which browsers keep for a while.
export function followWhileVisible(): void {
  follow();
  addEventListener("pagehide", stop);
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) waiting.push(window.setTimeout(stop, hiddenFor));
    else if (!source) follow();
    else waiting.forEach(clearTimeout);
  });
}
