import { useEffect, useState } from "preact/hooks";
import { lines } from "../model/api";
import { stageOf } from "../model/board";
import { bytes, clock, exact, span } from "../model/format";
import type { Event } from "../model/types";
import { CopyButton } from "./Copy";
import { Empty, Loading } from "./Empty";
import { Search } from "./Field";

// One start of a board, from its first question to the next one's.
interface Boot { first: Event; events: Event[] }

const pause = 120000; // ms of silence after which a DISCOVER begins another boot
const kept = 2000; // events
const shownOf = 400; // events of a boot

function isStart(event: Event, before: Event | undefined): boolean {
  if (event.kind !== "discover") return before === undefined;
  if (!before) return true;
  const late = stageOf(before.kind, before.file);
  return !(late === "address" || (late === "firmware" && before.kind === "ack")) || new Date(event.at).getTime() - new Date(before.at).getTime() > pause;
}

function boots(events: Event[]): Boot[] {
  const all: Boot[] = [];
  events.forEach((event, i) => {
    const last = all.at(-1);
    if (isStart(event, events[i - 1]) || !last) all.push({ first: event, events: [event] });
    else last.events.push(event);
  });
  return all.reverse();
}

// useEvents follows the timeline of a board.
function useEvents(board: string): Event[] | undefined {
  const [events, setEvents] = useState<Event[] | undefined>(undefined);
  useEffect(() => {
    const abort = new AbortController();
    let got: Event[] = [], drawn = 0;
    const draw = () => { drawn = 0; setEvents(got); };
    const none = window.setTimeout(draw, 1000); // nothing may have happened yet
    const read = async () => {
      for await (const event of lines<Event>("GET", `events?follow=true&board=${encodeURIComponent(board)}`, undefined, abort.signal)) {
        got = [...got.slice(1 - kept), event];
        drawn ||= window.setTimeout(draw, 100); // hundreds may come at once
      }
    };
    read().catch(() => undefined);
    return () => { abort.abort(); clearTimeout(drawn); clearTimeout(none); };
  }, [board]);
  return events;
}

const kindWords: Record<string, string> = {
  discover: "asks for an address", offer: "is offered", request: "wants", ack: "has", nak: "is refused", declined: "declines", file: "loads", file_missing: "looks for", file_aborted: "sizes up",
  file_failed: "fails to load", mount: "mounts", mount_refused: "may not mount", unmount: "unmounts", worker_online: "worker online", worker_offline: "worker offline", claimed: "claims", unit_done: "has done",
  unit_failed: "has failed", outdated: "worker is outdated", added: "added", changed: "changed", removed: "removed", unknown: "unknown", conflict: "address in use", old_handle: "old file handles", root_failed: "root failed", rival: "another DHCP server",
  login_refused: "login refused", stranger: "stranger", misuse: "misuse", no_conflict: "address is free again", diagnosis: "diagnosis", panic: "kernel has stopped", oops: "kernel is broken",
  out_of_memory: "out of memory", under_voltage: "too little voltage",
};

const bad = new Set(["nak", "declined", "file_failed", "mount_refused", "unit_failed", "outdated", "conflict", "old_handle", "root_failed", "rival", "login_refused", "stranger", "misuse", "panic", "oops", "out_of_memory", "under_voltage"]);

function detail(event: Event): string {
  const peer = event.file || event.export ? "" : [event.addr, event.mac].filter(Boolean).join(" ");
  const effort = [event.bytes && bytes(event.bytes), event.took_ns && (event.took_ns < 1e9 ? Math.max(1, Math.round(event.took_ns / 1e6)) + "\u202fms" : span(event.took_ns / 1e9))].filter(Boolean).join(" in ");
  return [event.file, event.export, peer, effort, event.detail].filter(Boolean).join("  ");
}

const asText = (event: Event): string => [event.at, event.kind, detail(event)].join("  ");

export function Timeline({ board }: { board: string }) {
  const events = useEvents(board);
  const [text, setText] = useState("");
  const wanted = (events ?? []).filter((event) => (kindWords[event.kind] + " " + event.kind + " " + detail(event)).toLowerCase().includes(text.toLowerCase()));
  const all = boots(wanted);
  return (
    <section class="card" aria-labelledby="timeline">
      <header class="head"><h2 id="timeline">Timeline</h2><span class="grow" /><Search value={text} label="Search events" onChange={setText} /><CopyButton text={wanted.map(asText).join("\n")}>Copy</CopyButton></header>
      {text === "" && <LastBoots boots={all} />}
      {!events && <Loading rows={3} />}
      {events && all.length === 0 && <Empty title={events.length ? "No event is like that." : "It has not asked for anything yet."}>{events.length === 0 && "Switch it on. Its first DHCP request appears here, and each step of its boot after that."}</Empty>}
      {all.map((boot, i) => <BootEvents key={boot.first.id ?? i} boot={boot} open={i === 0 || text !== ""} />)}
    </section>
  );
}

// tookOf is how long a boot took until its worker was online; undefined: it did not get there.
function tookOf(boot: Boot): number | undefined {
  const online = boot.events.find((event) => event.kind === "worker_online");
  return online && (new Date(online.at).getTime() - new Date(boot.first.at).getTime()) / 1000;
}

const bootsShown = 10;

// LastBoots has a column for each of the last boots, as high as it was long. Those that did not
// reach their worker are hollow.
function LastBoots({ boots: all }: { boots: Boot[] }) {
  const last = all.filter((boot) => boot.first.kind === "discover").slice(0, bootsShown).reverse();
  if (last.length < 2) return null;
  const times = last.map(tookOf), known = times.filter((one) => one !== undefined).sort((a, b) => a - b);
  const longest = known.at(-1) ?? 1, median = known[Math.floor((known.length - 1) / 2)];
  const failed = last.length - known.length;
  return (
    <div class="lastboots">
      <span class="sparkline" role="img" aria-label={`The last ${last.length} boots, the newest last: ${times.map((one) => (one === undefined ? "not complete" : span(one))).join(", ")}`}>
        {last.map((boot, i) => {
          const took = times[i];
          return <span key={boot.first.id ?? i} class={took === undefined ? "hollow" : ""} title={`${exact(new Date(boot.first.at))}: ${took === undefined ? "did not reach its worker" : span(took)}`} style={{ height: (took === undefined ? 100 : Math.max(12, (took / longest) * 100)) + "%" }} />;
        })}
      </span>
      <span class="muted">Last {last.length} boots{median !== undefined && <>, usually <span class="num">{span(median)}</span></>}{failed > 0 && <>, <span class="num">{failed}</span> not complete</>}</span>
    </div>
  );
}

function BootEvents({ boot, open }: { boot: Boot; open: boolean }) {
  const first = new Date(boot.first.at), online = boot.events.find((event) => event.kind === "worker_online");
  const wrong = boot.events.filter((event) => bad.has(event.kind)).length;
  const shown = boot.events.slice(-shownOf);
  return (
    <details class="boot" open={open}>
      <summary>
        <b class="num">{exact(first)}</b>
        <span class="muted">{boot.first.kind === "discover" ? (online ? `a boot of ${span((new Date(online.at).getTime() - first.getTime()) / 1000)}` : "a boot") : "events"}, <span class="num">{boot.events.length}</span> {boot.events.length === 1 ? "event" : "events"}{wrong > 0 && <span class="is-stuck">, {wrong} to look at</span>}</span>
      </summary>
      <ol class="events">
        {shown.length < boot.events.length && <li class="muted">{boot.events.length - shown.length} earlier ones are left out here; copying has them.</li>}
        {shown.map((event, i) => (
          <li key={event.id ?? i} class={bad.has(event.kind) ? "bad" : event.kind === "file_missing" || event.kind === "file_aborted" ? "faint" : ""}>
            <time dateTime={event.at} class="num" title={exact(new Date(event.at))}>{clock(new Date(event.at))}<small>:{String(new Date(event.at).getSeconds()).padStart(2, "0")}</small></time>
            <span class="kind">{kindWords[event.kind] ?? event.kind}</span>
            <span class="break">{detail(event)}</span>
          </li>
        ))}
      </ol>
    </details>
  );
}
