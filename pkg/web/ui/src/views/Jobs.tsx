import { useState } from "preact/hooks";
import { act } from "../model/act";
import { get, send } from "../model/api";
import { count } from "../model/format";
import { active, byTurn, ended, formatOf, fromList, type Listed } from "../model/job";
import { state } from "../model/live";
import { query, setQuery } from "../model/router";
import type { Job } from "../model/types";
import { Button } from "../parts/Button";
import { Confirm } from "../parts/Confirm";
import { Empty } from "../parts/Empty";
import { Glyph } from "../parts/Icon";
import { Search, Tabs } from "../parts/Field";
import { JobRow, RunningJob } from "../parts/JobRow";
import { Paged } from "../parts/Paged";
import { useStable } from "../parts/stable";

const groups: Record<string, (job: Job) => boolean> = {
  "": () => true, running: active, queued: (job) => job.state === "queued", done: (job) => job.state === "done",
  failed: (job) => job.state === "failed", cancelled: (job) => job.state === "cancelled",
};
const groupWords: Record<string, string> = { "": "All", running: "running", queued: "waiting", done: "done", failed: "failed", cancelled: "cancelled" };

function matches(job: Job, text: string): boolean {
  const all = [job.id, job.request.source, job.output, job.reason, job.note, formatOf(job), ...(job.request.labels ?? [])].join(" ").toLowerCase();
  return text.toLowerCase().split(/\s+/).every((word) => all.includes(word));
}

// each does the same to several jobs, one after the other.
async function each(jobs: Job[], what: (job: Job) => Promise<unknown>): Promise<void> {
  for (const job of jobs) await what(job);
}

function Bulk({ jobs, onDone }: { jobs: Job[]; onDone: () => void }) {
  const [asking, setAsking] = useState<"cancel" | "forget" | "">("");
  const waiting = jobs.filter((job) => !ended(job)), over = jobs.filter(ended), again = jobs.filter((job) => job.state === "failed" || job.state === "cancelled");
  const change = (to: { paused?: boolean; priority?: string }, done: string) => act(() => each(waiting, (job) => send("PATCH", "jobs/" + job.id, to)), done);
  return (
    <div class="bulk" role="region" aria-label="Chosen jobs">
      <b>{count(jobs.length, "job")} chosen</b>
      {again.length > 0 && <Button icon="again" onPress={() => act(() => each(again, (job) => send("POST", `jobs/${job.id}/retry`)), `${count(again.length, "job")} handed in again.`)}>{`Retry ${again.length}`}</Button>}
      {waiting.length > 0 && <>
        <Button icon="pause" onPress={() => change({ paused: true }, "Paused.")}>Pause</Button>
        <Button icon="play" onPress={() => change({ paused: false }, "Resumed.")}>Resume</Button>
        <Button icon="up" onPress={() => change({ priority: "hi" }, "They come first now.")}>First</Button>
        <Button icon="close" onPress={() => setAsking("cancel")}>{`Cancel ${waiting.length}`}</Button>
      </>}
      {over.length > 0 && <Button icon="trash" onPress={() => setAsking("forget")}>{`Forget ${over.length}`}</Button>}
      <span class="grow" />
      <Button look="quiet" onPress={onDone}>Choose none</Button>
      {asking === "cancel" && <Confirm title={`Cancel ${count(waiting.length, "job")}?`} lost="What the boards have encoded for them so far is thrown away." word="Cancel them" done="Cancelled." onClose={() => setAsking("")} run={() => each(waiting, (job) => send("DELETE", "jobs/" + job.id))} />}
      {asking === "forget" && <Confirm title={`Forget ${count(over.length, "job")}?`} lost="Their place in this history is lost; the videos that they made stay." word="Forget them" done="Forgotten." onClose={() => setAsking("")} run={() => each(over, (job) => send("DELETE", `jobs/${job.id}?remove=true`))} />}
    </div>
  );
}

// useOlder has the jobs that the live stream leaves out, a page at a time on demand.
function useOlder(jobs: Job[]): { older: Job[]; more: (() => Promise<void>) | undefined } {
  const [older, setOlder] = useState<Job[]>([]);
  const [left, setLeft] = useState(true);
  const before = Math.min(...older.map((job) => job.id), ...jobs.filter(ended).map((job) => job.id));
  const more = async () => {
    const page = await act(() => get<Listed[]>(`jobs?limit=${pageSize}&before=${before}&state=done&state=failed&state=cancelled`));
    if (!page) return;
    setOlder([...older, ...page.map(fromList)]);
    setLeft(page.length === pageSize);
  };
  return { older, more: state.value?.system?.older_jobs && left ? more : undefined };
}
const pageSize = 100;

export function JobsPage() {
  const [chosen, setChosen] = useState<ReadonlySet<number>>(new Set());
  const shown = Object.values(state.value?.jobs ?? {});
  const { older, more } = useOlder(shown);
  const jobs = [...shown, ...older];
  const text = query("q"), group = query("state");
  const found = jobs.filter((job) => matches(job, text));
  const wanted = found.filter(groups[group] ?? (() => true)).sort(byTurn);
  const running = wanted.filter(active);
  const { items, hold } = useStable(wanted.filter((job) => !active(job)), (job) => String(job.id), group + "|" + text);
  const choose = (id: number, on: boolean) => setChosen((before) => { const next = new Set(before); if (on) next.add(id); else next.delete(id); return next; });
  const [chooseOne] = useState(() => choose);
  const picked = jobs.filter((job) => chosen.has(job.id));
  const tabs = Object.keys(groups).map((value) => ({ value, text: groupWords[value] ?? value, count: found.filter(groups[value] ?? (() => true)).length })).filter((tab) => tab.count > 0 || tab.value === group || tab.value === "");
  return (
    <section class="page">
      <header class="title"><h1>Jobs</h1><span class="grow" /><a class="button primary" href="/submit"><Glyph name="plus" />Transcode a video</a></header>
      <div class="tools">
        <Tabs tabs={tabs} value={group} label="State" onChange={(value) => setQuery("state", value)} />
        <span class="grow" />
        <Search value={text} label="Search jobs" onChange={(value) => setQuery("q", value)} />
      </div>
      {picked.length > 0 && <Bulk jobs={picked} onDone={() => setChosen(new Set())} />}
      {running.length > 0 && <section class="card" aria-label="Running jobs"><ul class="runnings">{running.map((job) => <RunningJob key={job.id} job={job} />)}</ul></section>}
      {(items.length > 0 || running.length === 0) && (
        <div class="card" {...hold}>
          <ul class="rows"><Paged items={items}>{(job) => <JobRow key={job.id} job={job} chosen={chosen.has(job.id)} onChoose={chooseOne} />}</Paged>{more && <li class="more"><Button onPress={more}>Show older jobs</Button></li>}</ul>
          {items.length === 0 && (jobs.length === 0
            ? <Empty title="No video has been handed in yet."><a href="/submit">Transcode a video</a>, or put one into the watch folder of the media share.</Empty>
            : <Empty title="No job is like that."><a href="/jobs">Show all jobs</a></Empty>)}
        </div>
      )}
    </section>
  );
}
