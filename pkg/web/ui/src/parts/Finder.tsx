import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { allViews } from "../model/board";
import { now } from "../model/clock";
import { titleOf } from "../model/job";
import { state } from "../model/live";
import { go, path } from "../model/router";
import { Dialog } from "./Dialog";
import { Mark, type Shape } from "./Icon";

const open = signal(false);
export function openFinder(): void { open.value = true; }

interface Found { key: string; text: string; more: string; to: string; shape: Shape }

const most = 8;

function find(wanted: string): Found[] {
  const all = state.value, words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
  if (!all || words.length === 0) return [];
  const matches = (...texts: (string | undefined)[]) => { const text = texts.join(" ").toLowerCase(); return words.every((word) => text.includes(word)); };
  const boards = allViews(all, now.peek()).filter((view) => matches(view.name, view.board?.serial, view.board?.ip, view.board?.mac, view.word, ...view.labels))
    .map((view) => ({ key: "b" + view.key, text: view.name, more: view.board?.ip ?? view.word, to: path.board(view.name), shape: view.condition }));
  const jobs = Object.values(all.jobs).filter((job) => matches(String(job.id), job.request.source, job.output, job.state)).sort((a, b) => b.id - a.id)
    .map((job) => ({ key: "j" + job.id, text: titleOf(job), more: "job " + job.id, to: path.job(job.id), shape: job.state }));
  const videos = Object.values(all.media).filter((video) => matches(video.name, video.path))
    .map((video) => ({ key: "v" + video.path, text: video.name, more: video.path, to: path.video(video.path), shape: "running" as Shape }));
  return [...boards.slice(0, most), ...jobs.slice(0, most), ...videos.slice(0, most)];
}

// The Finder goes to a board, job or video by a part of its name.
export function Finder() {
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if ((event.metaKey || event.ctrlKey) && event.key === "k") {
        event.preventDefault();
        open.value = true;
      }
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
  return open.value ? <FinderDialog /> : null;
}

// moveFocus goes from the field to what was found and back by the arrow keys.
function moveFocus(event: KeyboardEvent): void {
  const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
  if (!step || !(event.currentTarget instanceof HTMLElement)) return;
  const stops = [...event.currentTarget.querySelectorAll<HTMLElement>("input, a")];
  stops[stops.indexOf(document.activeElement as HTMLElement) + step]?.focus();
  event.preventDefault();
}

function FinderDialog() {
  const [text, setText] = useState("");
  const found = find(text);
  const close = () => { open.value = false; };
  const visit = (event: Event) => {
    event.preventDefault();
    const first = found[0];
    if (!first) return;
    close();
    go(first.to);
  };
  return (
    <Dialog title="Search" onClose={close}>
      <form class="finder" role="search" onSubmit={visit} onKeyDown={moveFocus}>
        <input class="search" type="search" aria-label="A board, job or video" placeholder="A board, job or video" autocomplete="off" autofocus value={text} onInput={(event) => setText(event.currentTarget.value)} />
        <ul class="found">
          {found.map((one) => <li key={one.key}><a href={one.to} onClick={close}><Mark shape={one.shape} /><span class="grow clip">{one.text}</span><span class="muted">{one.more}</span></a></li>)}
        </ul>
        {text && found.length === 0 && <p class="muted" role="status">Nothing has that in its name.</p>}
      </form>
    </Dialog>
  );
}
