import { now } from "../model/clock";
import { clock, digits, fps, span } from "../model/format";
import { active, doneAt, ended, formatOf, jobWords, progressOf, secondsOf, speedOf, titleOf } from "../model/job";
import { state } from "../model/live";
import { path } from "../model/router";
import { workerName } from "../model/board";
import type { Job } from "../model/types";
import { Bar } from "./Bar";
import { Mark, Status } from "./Icon";
import { memo } from "./memo";
import { Ago } from "./Time";
import { UnitStrip } from "./UnitStrip";

function Facts({ job }: { job: Job }) {
  const at = doneAt(job, now.value);
  return (
    <span class="facts num">
      <span>{progressOf(job)} %</span>
      {job.fps > 0 && <span>{fps(job.fps)}</span>}
      {at && <span>{at.toDateString() === now.value.toDateString() ? `done ${clock(at)}` : `${span((job.eta ?? 0) / 1e9)} left`}</span>}
    </span>
  );
}

// A RunningJob is a job with the strip of its parts.
export const RunningJob = memo(function RunningJob({ job }: { job: Job }) {
  const nameOf = (worker: string) => workerName(state.value, worker);
  const workers = new Set(Object.values(job.units ?? {}).filter((unit) => unit.state === "running").map((unit) => unit.worker));
  const what = job.paused ? "paused: no further part is started" : job.state === "publishing" ? (job.reason || "putting it together") : workers.size ? `on ${workers.size} ${workers.size === 1 ? "worker" : "workers"}` : "waiting for a worker";
  return (
    <li class="running">
      <div class="line">
        <Mark shape={job.paused ? "resting" : job.state} title={job.paused ? "paused" : jobWords[job.state]} />
        <a class="name clip" href={path.job(job.id)}>{titleOf(job)}</a>
        <Facts job={job} />
      </div>
      {job.units && Object.keys(job.units).length > 1 ? <UnitStrip job={job} nameOf={nameOf} /> : <Bar value={progressOf(job)} label={"Progress of " + titleOf(job)} />}
      <div class="line muted small"><span class="grow clip">{formatOf(job)}, {what}</span><span class="num">job {job.id}</span></div>
    </li>
  );
});

// What there is to say of a job that does not run.
export function Outcome({ job }: { job: Job }) {
  switch (job.state) {
    case "failed": return <span class="clip" title={job.reason}>{job.reason}</span>;
    case "done": {
      const speed = speedOf(job);
      return <span class="muted clip num">in {span(secondsOf(job))}{speed > 0 && <>, {digits(speed)} fps</>}{job.note && ", with a note"}</span>;
    }
    case "queued": return <span class="muted clip">{job.paused ? "paused" : job.priority === "hi" ? "high priority" : job.priority === "low" ? "low priority" : ""}</span>;
    case "cancelled": return <span />;
    default: return <span class="progress"><Bar value={progressOf(job)} label={"Progress of " + titleOf(job)} /><Facts job={job} /></span>;
  }
}

interface Properties {
  job: Job;
  chosen: boolean;
  onChoose: (id: number, on: boolean) => void;
}

// JobRow is a job in the list.
export const JobRow = memo(function JobRow({ job, chosen, onChoose }: Properties) {
  return (
    <li class={"row job is-" + job.state}>
      <label class="tick"><input type="checkbox" checked={chosen} onChange={(event) => onChoose(job.id, event.currentTarget.checked)} /><span class="sr">Choose job {job.id}</span></label>
      <span class="muted num id">{job.id}</span>
      <a class="name clip" href={path.job(job.id)} title={job.request.source}>{titleOf(job)}</a>
      <Status shape={job.paused && !active(job) ? "resting" : job.state} word={job.paused ? "paused" : jobWords[job.state]} />
      <Outcome job={job} />
      <span class="muted clip wide-only">{formatOf(job)}</span>
      <span class="muted num wide-only end"><Ago at={ended(job) ? (job.ended ?? job.created) : (job.started ?? job.created)} /></span>
    </li>
  );
});
