import { allViews, type View } from "../model/board";
import { now } from "../model/clock";
import { bytes, count, fps, span } from "../model/format";
import { active } from "../model/job";
import { state } from "../model/live";
import type { Job, State } from "../model/types";
import { Glyph, Mark } from "./Icon";
import { Ago } from "./Time";

// StatusLine answers whether all is well, on every view.
export function StatusLine() {
  const all = state.value;
  if (!all) return <div class="statusline" aria-hidden="true"><span class="skeleton line" /></div>;
  const views = allViews(all, now.value);
  return (
    <div class="statusline" role="region" aria-label="Is all well?">
      <BoardsStatus views={views} found={Object.keys(all.discovered).length} />
      <JobsStatus jobs={Object.values(all.jobs)} />
      <DiskStatus state={all} />
      <DoctorStatus state={all} />
    </div>
  );
}

function BoardsStatus({ views, found }: { views: View[]; found: number }) {
  const of = (...which: string[]) => views.filter((view) => which.includes(view.condition)).length;
  const well = of("well", "working", "resting");
  const rest: [number, "booting" | "slow" | "stuck" | "off"][] = [[of("stuck"), "stuck"], [of("slow"), "slow"], [of("booting"), "booting"], [of("off"), "off"]];
  if (views.length === 0) return <a href="/boards"><Mark shape={found ? "new" : "off"} />{found ? count(found, "new board") + " seen" : "No boards yet"}</a>;
  return (
    <>
      <a href="/boards"><Mark shape={well ? "well" : "off"} /><span><b class="num">{well}</b> of <b class="num">{views.length}</b> {views.length === 1 ? "board" : "boards"} well</span></a>
      {rest.filter(([n]) => n > 0).map(([n, shape]) => <a key={shape} href={"/boards?state=" + shape} class={"is-" + shape}><Mark shape={shape} /><span><b class="num">{n}</b> {shape}</span></a>)}
      {found > 0 && <a href="/boards?state=new"><Mark shape="new" /><span><b class="num">{found}</b> new</span></a>}
    </>
  );
}

function JobsStatus({ jobs }: { jobs: Job[] }) {
  const running = jobs.filter(active);
  const waiting = jobs.filter((job) => job.state === "queued").length;
  const speed = running.reduce((sum, job) => sum + job.fps, 0);
  const left = Math.max(0, ...running.map((job) => (job.eta ?? 0) / 1e9));
  if (running.length === 0) return <a href="/jobs"><Mark shape={waiting ? "queued" : "off"} />{waiting ? count(waiting, "job") + " waiting" : "No job running"}</a>;
  return (
    <a href="/jobs">
      <Mark shape="running" />
      <span><b class="num">{running.length}</b> {running.length === 1 ? "job" : "jobs"}{speed > 0 && <> · <span class="num">{fps(speed)}</span></>}{left > 0 && <> · <span class="num">{span(left)}</span> left</>}{waiting > 0 && <span class="wide-only"> · <span class="num">{waiting}</span> waiting</span>}</span>
    </a>
  );
}

// What the doctor has found, and when.
function DoctorStatus({ state }: { state: State }) {
  const found = state.system?.doctor;
  if (!found) return null;
  const todo = found.problems + found.warnings;
  return <a href="/doctor" class={found.problems ? "is-stuck" : found.warnings ? "is-slow" : ""}><Mark shape={found.problems ? "stuck" : found.warnings ? "warning" : "well"} /><span>{todo ? <><b class="num">{todo}</b> to look at</> : "Doctor: all well"} <span class="muted wide-only"><Ago at={found.at} /></span></span></a>;
}

const scarce = 10e9; // bytes

function DiskStatus({ state }: { state: State }) {
  const { media_free: free = 0, media_size: size = 0 } = state.system ?? {};
  if (!free) return null;
  return <a href="/settings" class={free < scarce ? "is-slow" : ""}><Glyph name="boards" /><span><b class="num">{bytes(free)}</b> free<span class="wide-only"> of <span class="num">{bytes(size)}</span></span></span></a>;
}
