import { bitrate, digits, percent } from "./format";
import { useEffect, useState } from "preact/hooks";
import { get, Problem } from "./api";
import { state } from "./live";
import type { Job, JobState, Unit, Video } from "./types";

export const jobWords: Record<JobState, string> = {
  queued: "waiting", running: "running", publishing: "publishing", done: "done", failed: "failed", cancelled: "cancelled",
};

export const active = (job: Job): boolean => job.state === "running" || job.state === "publishing";
// growing is a job whose stream can be played while it is made, once there is something of it.
export const growing = (job: Job): boolean => active(job) && job.request.progressive === true;
export const ended = (job: Job): boolean => job.state === "done" || job.state === "failed" || job.state === "cancelled";

export function titleOf(job: Job): string {
  if (job.request.live) return job.request.name ?? job.request.source;
  return job.request.source.split("/").pop() || job.request.source;
}

export function formatOf(job: Job): string {
  const { format, segments, codec, live } = job.request;
  const kind = live ? "live" : format === "mp4" ? "MP4" : format === "mkv" ? "MKV" : segments === "cmaf" ? "HLS, CMAF" : "HLS";
  return codec && codec !== "h264" ? `${kind}, ${codec === "h265" ? "H.265" : codec.toUpperCase()}` : kind;
}

export function progressOf(job: Job): number {
  if (job.state === "done") return 100;
  return percent(job.frames, job.total_frames);
}

// doneAt is when a job will be done as far as that is known.
export function doneAt(job: Job, now: Date): Date | undefined {
  return job.eta ? new Date(now.getTime() + job.eta / 1e6) : undefined;
}

export function secondsOf(job: Job): number {
  if (!job.started) return 0;
  return ((job.ended ? new Date(job.ended) : new Date()).getTime() - new Date(job.started).getTime()) / 1000;
}

export function speedOf(job: Job): number {
  const seconds = secondsOf(job);
  return job.state === "done" && seconds > 0 ? job.total_frames / seconds : 0;
}

export function unitsOf(job: Job): Unit[] {
  return Object.entries(job.units ?? {}).sort(([a], [b]) => Number(a) - Number(b)).map(([, unit]) => unit);
}

const rank: Record<JobState, number> = { running: 0, publishing: 0, queued: 1, failed: 2, done: 2, cancelled: 2 };
const priorities = { hi: 0, normal: 1, low: 2 };

// byTurn puts running jobs first, then those that wait in the order in which they get
// their turn, then the latest that have ended.
export function byTurn(a: Job, b: Job): number {
  if (rank[a.state] !== rank[b.state]) return rank[a.state] - rank[b.state];
  if (rank[a.state] === 2) return (b.ended ?? "").localeCompare(a.ended ?? "") || b.id - a.id;
  return priorities[a.priority] - priorities[b.priority] || a.id - b.id;
}

export function qualityOf(video: Video): string {
  if (video.kind !== "hls") return video.kind.toUpperCase();
  const best = Math.max(0, ...(video.renditions ?? []).map((r) => Math.min(r.width ?? 0, r.height ?? 0)));
  return best ? `HLS, up to ${digits(best)}p` : "HLS, sound alone";
}

export function renditionName(r: { width?: number; height?: number; bps: number }): string {
  return r.height ? `${Math.min(r.width ?? r.height, r.height)}p, ${bitrate(r.bps)}` : bitrate(r.bps);
}

// As requests have jobs: with a list of units.
export type Listed = Omit<Job, "units"> & { units?: Unit[] };
export const fromList = (job: Listed): Job => ({ ...job, units: Object.fromEntries(Object.entries(job.units ?? [])) });

// useJob has a job with all of it. The live stream leaves out lists of jobs that have ended, and
// the oldest jobs. null: there is none; undefined: not known yet.
export function useJob(id: string): Job | null | undefined {
  const all = state.value, live = all?.jobs[id];
  const [whole, setWhole] = useState<Job | null | undefined>(undefined);
  const asks = id !== "" && all !== undefined && (live === undefined || ended(live));
  useEffect(() => {
    setWhole(undefined);
    if (!asks) return;
    const abort = new AbortController();
    get<Listed>("jobs/" + id, abort.signal).then((full) => setWhole(fromList(full)), (error: unknown) => { if (error instanceof Problem && error.status === 404) setWhole(null); });
    return () => abort.abort();
  }, [id, asks]);
  if (live) return ended(live) && whole ? { ...live, ...whole } : live;
  return whole;
}
