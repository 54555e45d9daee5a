import { useState } from "preact/hooks";
import { act, tell } from "../model/act";
import { send } from "../model/api";
import { allViews, modelOf, type View } from "../model/board";
import { now } from "../model/clock";
import { bytes, digits, fps } from "../model/format";
import { titleOf } from "../model/job";
import { state } from "../model/live";
import { path } from "../model/router";
import { BoardLog } from "../parts/BoardLog";
import { BoardSettingsForm } from "../parts/BoardSettings";
import { BootBar, StageText } from "../parts/BootBar";
import { BootFiles } from "../parts/BootFiles";
import { Button } from "../parts/Button";
import { Status } from "../parts/Icon";
import { Labels } from "../parts/Labels";
import { RemoveBoard } from "../parts/RemoveBoard";
import { RootCard } from "../parts/RootCard";
import { Since } from "../parts/Time";
import { Timeline } from "../parts/Timeline";
import { Missing } from "./Missing";

export function BoardPage({ name }: { name: string }) {
  const all = state.value;
  const view = all && allViews(all, now.value).find((one) => one.name === name || one.key === name || one.board?.mac === name);
  if (!view) return <Missing what="board" />;
  return (
    <section class="page">
      <p class="crumbs"><a href="/boards">Boards</a> / {view.name}</p>
      <header class="title">
        <h1 class="clip">{view.name}</h1>
        <Status shape={view.condition} word={view.word} />
        <Labels labels={view.labels} />
        <span class="grow" />
        <BoardActions view={view} />
      </header>
      <Now view={view} />
      <div class="halves">
        <section class="card" aria-labelledby="facts"><h2 id="facts">{view.board ? "The board" : "The machine"}</h2><Facts view={view} /></section>
        {view.board && <section class="card" aria-labelledby="root"><h2 id="root">Its root</h2><RootCard board={view.board} /></section>}
      </div>
      {view.board && <BootFiles board={view.board} />}
      {view.board ? <div class="halves record"><Timeline board={view.key} /><BoardLog board={view.key} /></div> : <Timeline board={view.key} />}
    </section>
  );
}

function BoardActions({ view }: { view: View }) {
  const [open, setOpen] = useState<"" | "settings" | "remove">("");
  const drained = view.worker?.drained ?? false;
  const drain = () => act(() => send(drained ? "DELETE" : "PUT", `pis/${view.key}/drain`), drained ? `${view.name} takes work again.` : `${view.name} finishes its part and takes no more.`);
  return (
    <div class="actions">
      {view.worker && <Button icon={drained ? "play" : "pause"} onPress={drain}>{drained ? "End the drain" : "Drain"}</Button>}
      {view.board && <Button icon="gear" onPress={() => setOpen("settings")}>Settings</Button>}
      <Button icon="trash" onPress={() => setOpen("remove")}>Remove</Button>
      {open === "settings" && view.board && <BoardSettingsForm board={view.board} onClose={() => setOpen("")} onSaved={(changes) => { setOpen(""); tell(changes); }} />}
      {open === "remove" && <RemoveBoard view={view} onClose={() => setOpen("")} />}
    </div>
  );
}

// What it does now, or what is wrong with it and what to do.
function Now({ view }: { view: View }) {
  const job = view.worker?.job ? state.value?.jobs[String(view.worker.job)] : undefined;
  const wrong = view.condition === "stuck" || view.condition === "slow";
  if (view.condition === "off" && !view.sentence) return <section class="card"><p class="muted">It is off, or has not asked for anything for a while. {view.since && <>The last sign of it is <Since at={view.since} /> old.</>}</p></section>;
  return (
    <section class={"card stack" + (wrong ? " is-" + view.condition : "")} aria-label="Now">
      {(view.condition === "booting" || view.condition === "stuck" || view.condition === "slow") && <BootBar view={view} wide />}
      {(wrong || view.condition === "off") && <p><b>{view.name} {view.sentence}</b></p>}
      {view.action && <p>{view.action} {view.board?.diagnosis?.code && <a href={path.docs("hangs.html#" + view.board.diagnosis.code)}>More on that</a>}</p>}
      {view.condition === "booting" && <p class="muted"><StageText view={view} /></p>}
      {job && <p>Works on <a href={path.job(job.id)}>{titleOf(job)}</a>, part <span class="num">{view.worker?.unit}</span>{view.worker?.fps ? <>, at <span class="num">{fps(view.worker.fps)}</span></> : null}.</p>}
      {view.condition === "resting" && <p class="muted">It {view.sentence}.</p>}
      {view.condition === "well" && <p class="muted">Its worker is online and waits for work.</p>}
    </section>
  );
}

function Facts({ view }: { view: View }) {
  const { board, worker } = view, hello = worker?.hello, machine = hello?.machine ?? {};
  const speeds = [...(hello?.speeds ?? [])].sort((a, b) => b.lines - a.lines);
  return (
    <dl class="facts-list">
      {board && <>
        {modelOf(board) && <><dt>Model</dt><dd>Raspberry {modelOf(board)}</dd></>}
        <dt>Serial</dt><dd class="num">{board.serial}</dd>
        <dt>Address</dt><dd class="num">{board.ip}, {board.mac}</dd>
        {board.settings.mux_id ? <><dt>Muxer id</dt><dd class="num">{board.settings.mux_id}</dd></> : null}
      </>}
      {hello && <>
        <dt>Machine</dt><dd>{[hello.arch, hello.cpus && `${hello.cpus} cores`, hello.memory && bytes(hello.memory)].filter(Boolean).join(", ")}</dd>
        {machine.temperature ? <><dt>Temperature</dt><dd class="num">{digits(machine.temperature)} °C</dd></> : null}
        {machine.load !== undefined && <><dt>Load</dt><dd class="num">{digits(machine.load)}{hello.cpus ? ` on ${hello.cpus} cores` : ""}</dd></>}
        <dt>ffmpeg</dt><dd class="break">{hello.ffmpeg}</dd>
        {hello.encoders && hello.encoders.length > 0 && <><dt>Encodes</dt><dd>{hello.encoders.join(", ")}</dd></>}
        {speeds.length > 0 && <><dt>Speed</dt><dd class="num">{speeds.slice(0, 6).map((one) => <span key={one.encoder + one.lines} class="block">{fps(one.fps)} <span class="muted">{one.encoder}, {one.lines} lines</span></span>)}</dd></>}
      </>}
      {!hello && <><dt>Worker</dt><dd class="muted">has not reported since pibootd started</dd></>}
    </dl>
  );
}
