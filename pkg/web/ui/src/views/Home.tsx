import { allViews, byName, conditions, conditionWords, type View } from "../model/board";
import { now } from "../model/clock";
import { count } from "../model/format";
import { active, byTurn, titleOf } from "../model/job";
import { state } from "../model/live";
import { path } from "../model/router";
import type { Job, State } from "../model/types";
import { AddSeveral } from "../parts/AddBoards";
import { BoardRow } from "../parts/BoardRow";
import { Empty } from "../parts/Empty";
import { FirstRun } from "../parts/FirstRun";
import { Mark, Status } from "../parts/Icon";
import { RunningJob } from "../parts/JobRow";
import { SpeedChart } from "../parts/SpeedChart";
import { StrangerRow } from "../parts/StrangerRow";
import { Ago } from "../parts/Time";
import { VideoCard } from "../parts/VideoCard";

const fewBoards = 24; // more are shown as a wall
const fewStrangers = 4;
const fewJobs = 6;
const latest = 3;
const day = 86400e3; // ms

// HomePage is for the second screen: is all well, what is it doing, what is next?
export function HomePage() {
  const all = state.value;
  if (!all) return null;
  const views = allViews(all, now.value);
  return (
    <>
      <h1 class="sr">Overview</h1>
      <FirstRun all={all} />
      <div class="home">
        <BoardsPanel views={views} all={all} />
        <div class="column">
          <JobsPanel jobs={Object.values(all.jobs)} />
          <SpeedChart jobs={Object.values(all.jobs)} />
          <FailedPanel jobs={Object.values(all.jobs)} />
          <LatestPanel all={all} />
        </div>
      </div>
    </>
  );
}

function BoardsPanel({ views, all }: { views: View[]; all: State }) {
  const strangers = Object.values(all.discovered).sort((a, b) => b.last_seen.localeCompare(a.last_seen));
  const rows = views.length <= fewBoards ? views : views.filter((view) => view.condition === "stuck" || view.condition === "slow" || view.condition === "booting").slice(0, 8);
  return (
    <section class="card" aria-labelledby="home-boards">
      <header class="head"><h2 id="home-boards">Boards</h2><span class="grow" />{views.length > 0 && <a href="/boards">All {count(views.length, "board")}</a>}</header>
      {views.length > fewBoards && <Wall views={views} />}
      <ul class="rows">
        {rows.map((view) => <BoardRow key={view.key} view={view} />)}
        {strangers.slice(0, fewStrangers).map((found) => <StrangerRow key={found.mac} found={found} />)}
      </ul>
      {strangers.length > 1 && <p class="foot"><AddSeveral found={strangers} /></p>}
      {strangers.length > fewStrangers && <p class="foot"><a href="/boards?state=new">and {strangers.length - fewStrangers} more new boards</a></p>}
      {views.length === 0 && strangers.length === 0 && <Empty title="No board has asked for an address yet.">Connect a Raspberry Pi to this network, without an SD card, and switch it on. It appears here.</Empty>}
    </section>
  );
}

// A Wall has a tile for each board, so that hundreds fit on a screen.
function Wall({ views }: { views: View[] }) {
  return (
    <>
      <ul class="legend">
        {conditions.map((one) => [one, views.filter((view) => view.condition === one).length] as const).filter(([, n]) => n > 0).map(([one, n]) => (
          <li key={one}><a href={"/boards?state=" + one}><Status shape={one} word={conditionWords[one]} /> <b class="num">{n}</b></a></li>
        ))}
      </ul>
      <ul class="wall">
        {[...views].sort(byName).map((view) => (
          <li key={view.key}><a href={path.board(view.name)} class={"tile is-" + view.condition} title={`${view.name}: ${view.word}${view.sentence ? ", " + view.sentence : ""}`}><Mark shape={view.condition} /><span class="sr">{view.name}, {view.word}</span></a></li>
        ))}
      </ul>
    </>
  );
}

function today(job: Job, state: string): boolean {
  return job.state === state && job.ended !== undefined && new Date(job.ended).toDateString() === now.value.toDateString();
}

function JobsPanel({ jobs }: { jobs: Job[] }) {
  const running = jobs.filter(active).sort(byTurn);
  const numbers: [number, string, string][] = [
    [jobs.filter((job) => job.state === "queued").length, "waiting", "queued"],
    [jobs.filter((job) => today(job, "done")).length, "done today", "done"],
    [jobs.filter((job) => today(job, "failed")).length, "failed today", "failed"],
  ];
  return (
    <section class="card" aria-labelledby="home-jobs">
      <header class="head"><h2 id="home-jobs">Running</h2><span class="grow" />{jobs.length > 0 && <a href="/jobs">All jobs</a>}</header>
      {running.length > 0 && <ul class="runnings">{running.slice(0, fewJobs).map((job) => <RunningJob key={job.id} job={job} />)}</ul>}
      {running.length === 0 && <Empty title={jobs.length ? "Nothing is running." : "No video has been handed in yet."}>{jobs.some((job) => job.state === "queued") ? "Jobs wait for a worker: see the boards." : <><a href="/submit">Transcode a video</a>, or put one into the watch folder.</>}</Empty>}
      {running.length > fewJobs && <p class="foot"><a href="/jobs?state=running">and {running.length - fewJobs} more running</a></p>}
      {jobs.length > 0 && <ul class="numbers">
        {numbers.map(([n, text, to]) => <li key={to}><a href={"/jobs?state=" + to} class={n > 0 && to === "failed" ? "is-failed" : ""}><b class="num">{n}</b> {text}</a></li>)}
      </ul>}
    </section>
  );
}

// What failed within a day is worth a look; older failures are among the jobs.
function FailedPanel({ jobs }: { jobs: Job[] }) {
  const failed = jobs.filter((job) => job.state === "failed" && now.value.getTime() - new Date(job.ended ?? job.created).getTime() < day).sort(byTurn).slice(0, latest);
  if (failed.length === 0) return null;
  return (
    <section class="card" aria-labelledby="home-failed">
      <header class="head"><h2 id="home-failed">Failed lately</h2><span class="grow" /><a href="/jobs?state=failed">All failed jobs</a></header>
      <ul class="rows failures">
        {failed.map((job) => <li key={job.id} class="row"><Mark shape="failed" title="failed" /><a class="name clip" href={path.job(job.id)}>{titleOf(job)}</a><span class="clip muted" title={job.reason}>{job.reason}</span><span class="muted end"><Ago at={job.ended ?? job.created} /></span></li>)}
      </ul>
    </section>
  );
}

function LatestPanel({ all }: { all: State }) {
  const videos = Object.values(all.media).sort((a, b) => b.modified.localeCompare(a.modified)).slice(0, 4);
  if (videos.length === 0) return null;
  return (
    <section class="card" aria-labelledby="home-latest">
      <header class="head"><h2 id="home-latest">Latest videos</h2><span class="grow" /><a href="/videos">All media</a></header>
      <ul class="videos small">{videos.map((video) => <VideoCard key={video.path} video={video} />)}</ul>
    </section>
  );
}
