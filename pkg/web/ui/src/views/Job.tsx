import { useState } from "preact/hooks";
import { act } from "../model/act";
import { send } from "../model/api";
import { workerName } from "../model/board";
import { digits, fps, grouped, percent, sentence, span } from "../model/format";
import { active, ended, formatOf, growing, jobWords, progressOf, secondsOf, speedOf, titleOf, unitsOf, useJob } from "../model/job";
import { state } from "../model/live";
import { go, path } from "../model/router";
import type { Job, Unit } from "../model/types";
import { Bar } from "../parts/Bar";
import { Button } from "../parts/Button";
import { Confirm } from "../parts/Confirm";
import { CopyButton } from "../parts/Copy";
import { Empty, Loading } from "../parts/Empty";
import { Mark, Status } from "../parts/Icon";
import { Paged } from "../parts/Paged";
import { Ago, Until } from "../parts/Time";
import { coloursOf, kindName, UnitStrip } from "../parts/UnitStrip";
import { Missing } from "./Missing";

const nameOf = (worker: string): string => workerName(state.value, worker);

export function JobPage({ id }: { id: number }) {
  const job = useJob(String(id));
  const [chosen, setChosen] = useState("");
  if (job === undefined) return <Loading />;
  if (!job) return <Missing what="job" />;
  const choose = (unit: string) => {
    setChosen(unit);
    document.getElementById("unit-" + unit)?.scrollIntoView({ block: "nearest" });
  };
  return (
    <section class="page">
      <p class="crumbs"><a href="/jobs">Jobs</a> / <span class="num">{job.id}</span></p>
      <header class="title">
        <h1 class="clip" title={job.request.source}>{titleOf(job)}</h1>
        <Status shape={job.paused && !ended(job) ? "resting" : job.state} word={job.paused && !ended(job) ? "paused" : jobWords[job.state]} />
        <span class="grow" />
        <JobActions job={job} />
      </header>
      <Progress job={job} chosen={chosen} onChoose={choose} />
      <Words job={job} />
      <div class="halves">
        <section class="card" aria-labelledby="job-facts"><h2 id="job-facts">The job</h2><Facts job={job} /></section>
        <section class="card" aria-labelledby="job-workers"><h2 id="job-workers">Workers</h2><WorkersOf job={job} /></section>
      </div>
      <Parts job={job} chosen={chosen} />
    </section>
  );
}

function JobActions({ job }: { job: Job }) {
  const [asking, setAsking] = useState<"cancel" | "forget" | "">("");
  const change = (to: { paused?: boolean; priority?: string }, done: string) => act(() => send("PATCH", "jobs/" + job.id, to), done);
  const retry = async () => {
    const again = await act(() => send<{ job: Job }>("POST", `jobs/${job.id}/retry`), ({ job: next }) => `Handed in again as job ${next.id}.`);
    if (again) go(path.job(again.job.id));
  };
  const open = !ended(job) && job.state !== "publishing";
  return (
    <div class="actions">
      {open && <Button icon={job.paused ? "play" : "pause"} onPress={() => change({ paused: !job.paused }, job.paused ? "Resumed." : "Paused: parts that run are finished, and no further one is started.")}>{job.paused ? "Resume" : "Pause"}</Button>}
      {open && (
        <select aria-label="Priority" value={job.priority} onChange={(event) => void change({ priority: event.currentTarget.value }, "Changed.")}>
          <option value="hi">high priority</option><option value="normal">normal priority</option><option value="low">low priority</option>
        </select>
      )}
      {(job.state === "failed" || job.state === "cancelled") && <Button icon="again" look="primary" onPress={retry}>Retry</Button>}
      {ended(job) && <a class="button" href={"/submit?again=" + job.id}>Again with other options</a>}
      {job.state === "done" && job.output && <a class="button primary" href={path.video(job.output)}>Play</a>}
      {growing(job) && job.output && state.value?.media[job.output] && <a class="button primary" href={path.video(job.output)}>Watch</a>}
      {open && <Button icon="close" onPress={() => setAsking("cancel")}>Cancel</Button>}
      {ended(job) && <Button icon="trash" label="Forget" onPress={() => setAsking("forget")} />}
      {asking === "cancel" && <Confirm title={`Cancel job ${job.id}?`} lost={job.frames > 0 ? `What the boards have encoded so far (${progressOf(job)} %) is thrown away.` : "Nothing is lost: no part of it is done."} word="Cancel the job" done="Cancelled." onClose={() => setAsking("")} run={() => send("DELETE", "jobs/" + job.id)} />}
      {asking === "forget" && <Confirm title={`Forget job ${job.id}?`} lost="Its place in the history is lost; a video that it made stays." word="Forget it" done="Forgotten." onClose={() => setAsking("")} run={async () => { await send("DELETE", `jobs/${job.id}?remove=true`); go("/jobs"); }} />}
    </div>
  );
}

function Progress({ job, chosen, onChoose }: { job: Job; chosen: string; onChoose: (unit: string) => void }) {
  if (ended(job) && job.state !== "failed") return null;
  return (
    <section class="card progress-card" aria-label="Progress">
      <p class="big num">{progressOf(job)}{"\u202f"}%{job.fps > 0 && <small>{fps(job.fps)}</small>}{job.eta ? <small><Until seconds={job.eta / 1e9} /></small> : null}</p>
      {unitsOf(job).length > 1 ? <UnitStrip job={job} nameOf={nameOf} chosen={chosen} onChoose={onChoose} /> : <Bar value={progressOf(job)} label="Progress" />}
    </section>
  );
}

// What went wrong or is missing, in words.
function Words({ job }: { job: Job }) {
  const stderr = job.stderr ?? [];
  if (!job.reason && !job.note && stderr.length === 0) return null;
  return (
    <section class={"card said" + (job.state === "failed" ? " is-stuck" : "")} aria-label={job.state === "failed" ? "Why it failed" : "Note"}>
      {job.reason && <p><Mark shape={job.state === "failed" ? "failed" : "warning"} /> {job.reason}</p>}
      {job.note?.split("\n").map((text) => <p key={text}>{sentence(text)}</p>)}
      {stderr.length > 0 && <div class="log"><header><b>ffmpeg's last lines</b><CopyButton text={stderr.join("\n")} /></header><pre tabIndex={0} aria-label="ffmpeg's last lines">{stderr.join("\n")}</pre></div>}
    </section>
  );
}

function Facts({ job }: { job: Job }) {
  const { source, name, labels, rungs, encrypted, crf, audio_codec: audio } = job.request;
  const options = [encrypted && "encrypted", crf && `quality ${String(crf)}`, audio && `sound as ${String(audio)}`, Array.isArray(rungs) && rungs.length > 0 && `${rungs.length} renditions of its own`].filter(Boolean).join(", ");
  return (
    <dl class="facts-list">
      <dt>Source</dt><dd class="break">{source}</dd>
      <dt>Makes</dt><dd>{formatOf(job)}{options && ", " + options}</dd>
      <dt>Output</dt><dd class="break">{job.output ? (job.state === "done" || growing(job) ? <a href={path.video(job.output)}>{job.output}</a> : job.output) : (name ?? "not chosen yet")}</dd>
      {labels && labels.length > 0 && <><dt>Only on</dt><dd>{labels.join(", ")}</dd></>}
      <dt>Handed in</dt><dd><Ago at={job.created} /></dd>
      {job.started && <><dt>Started</dt><dd><Ago at={job.started} /></dd></>}
      {job.ended && <><dt>Ended</dt><dd><Ago at={job.ended} />, after <span class="num">{span(secondsOf(job))}</span>{speedOf(job) > 0 && <>, <span class="num">{digits(speedOf(job))} fps</span></>}</dd></>}
      {job.total_frames > 0 && <><dt>Frames</dt><dd class="num">{grouped(job.frames)} of {grouped(job.total_frames)}</dd></>}
    </dl>
  );
}

function WorkersOf({ job }: { job: Job }) {
  const units = unitsOf(job), colour = coloursOf(units);
  const workers = [...colour.keys()].map((worker) => {
    const its = units.filter((unit) => unit.worker === worker);
    return { worker, done: its.filter((unit) => unit.state === "done").length, frames: its.reduce((sum, unit) => sum + unit.frames, 0), fps: its.reduce((sum, unit) => sum + (unit.state === "running" ? unit.fps : 0), 0) };
  }).sort((a, b) => b.frames - a.frames);
  if (workers.length === 0) return <Empty title={active(job) ? "No worker has claimed a part yet." : "No worker has had a part of it."} />;
  return (
    <ul class="rows plain">
      {workers.map(({ worker, done, frames, fps: speed }) => (
        <li key={worker} class="line"><span class={"chip by" + (colour.get(worker) ?? 0)} /><a class="grow clip" href={path.board(nameOf(worker))}>{nameOf(worker)}</a><span class="num muted">{done} {done === 1 ? "part" : "parts"}, {percent(frames, job.total_frames)} %</span>{speed > 0 && <span class="num">{fps(speed)}</span>}</li>
      ))}
    </ul>
  );
}

function Parts({ job, chosen }: { job: Job; chosen: string }) {
  const units = unitsOf(job);
  if (units.length === 0) return null;
  return (
    <section class="card" aria-labelledby="job-parts">
      <header class="head"><h2 id="job-parts">Parts</h2><span class="grow" /><span class="muted num">{units.filter((unit) => unit.state === "done").length} of {units.length} done</span></header>
      <ul class="rows"><Paged items={units}>{(unit) => <Part key={unit.id} unit={unit} chosen={unit.id === chosen} />}</Paged></ul>
    </section>
  );
}

function Part({ unit, chosen }: { unit: Unit; chosen: boolean }) {
  const waits = unit.state === "pending" || unit.state === "waiting";
  const shape = unit.state === "pending" || unit.state === "waiting" ? "queued" : unit.state;
  const progress = unit.state === "running" && unit.total_frames > 0 ? `${percent(unit.frames, unit.total_frames)} %` : "";
  return (
    <li id={"unit-" + unit.id} class={"row part" + (chosen ? " chosen" : "")}>
      <span class="num">{unit.id}</span>
      <span class="muted wide-only">{kindName(unit.kind)}</span>
      <Status shape={shape} word={waits ? "waiting" : unit.state} />
      <span class="clip">{unit.worker && <a href={path.board(nameOf(unit.worker))}>{nameOf(unit.worker)}</a>}{unit.second_worker && ` and ${nameOf(unit.second_worker)}`}{unit.attempt > 1 && <span class="muted"> attempt {unit.attempt}</span>}</span>
      <span class="num end">{progress}{unit.state === "running" && unit.fps > 0 && ", " + fps(unit.fps)}</span>
      {unit.failed_why && <span class="why muted">{nameOf(unit.failed_on ?? "")}: {unit.failed_why}</span>}
    </li>
  );
}
