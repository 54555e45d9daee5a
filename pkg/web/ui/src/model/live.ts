import { signal } from "@preact/signals";
import { patched, type Json } from "./patch";
import type { State } from "./types";

const empty: State = { boards: {}, machines: {}, discovered: {}, jobs: {}, media: {}, templates: {}, operations: {} };

// What pibootd has; undefined until the first snapshot has come.
export const state = signal<State | undefined>(undefined);

// Since when there is no connection; undefined while there is one.
export const lostSince = signal<Date | undefined>(undefined);

// Whether pibootd asks for a login before it shows anything.
export const locked = signal(false);

const retryAfter = 3000; // ms
const hiddenFor = 60000; // ms, after which a page that nobody sees lets go of its connection

let source: EventSource | undefined;
let last = "";
let waiting: number[] = [];

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

function receive(event: MessageEvent<string>, change: (before: State, data: Json) => State): void {
  const data = JSON.parse(event.data) as Json;
  last = event.lastEventId;
  lostSince.value = undefined;
  locked.value = false;
  apply((before) => change(before, data));
}

// follow opens the stream of changes, and opens it again whenever it ends. A browser
// opens a stream that broke off by itself, and asks for what it has missed.
export function follow(): void {
  stop();
  source = new EventSource("/api/v1/live" + (last ? "?after=" + encodeURIComponent(last) : ""));
  source.addEventListener("snapshot", (event) => receive(event, (_, data) => patched(empty, data) as unknown as State));
  source.addEventListener("change", (event) => receive(event, (before, data) => patched(before, data) as unknown as State));
  source.onerror = () => {
    lostSince.value ??= new Date();
    if (source?.readyState === EventSource.CLOSED) void refused();
  };
}

// refused finds out why there is no stream: whoever is not logged in may not see it.
async function refused(): Promise<void> {
  stop();
  try {
    const answer = await fetch("/api/v1/info");
    locked.value = answer.status === 401;
  } catch {
    // pibootd does not answer at all
  }
  if (!locked.value) waiting.push(window.setTimeout(follow, retryAfter));
}

function stop(): void {
  source?.close();
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
