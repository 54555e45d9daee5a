import { useState } from "preact/hooks";
import { now } from "../model/clock";
import { clock, fps } from "../model/format";
import { active } from "../model/job";
import type { Job } from "../model/types";

const hours = 24, buckets = 48;
const width = 480, height = 72;
const bucketTime = (hours * 3600e3) / buckets;

// speedsOf spreads the frames of each job evenly over the time that it took.
function speedsOf(jobs: Job[], end: number): number[] {
  const first = end - buckets * bucketTime, frames = new Array<number>(buckets).fill(0);
  for (const job of jobs) {
    const from = job.started ? new Date(job.started).getTime() : 0;
    const to = job.ended ? new Date(job.ended).getTime() : end;
    const made = job.state === "done" ? job.total_frames : active(job) ? job.frames : 0;
    if (!from || to <= from || to < first || !made) continue;
    for (let i = Math.max(0, Math.floor((from - first) / bucketTime)); i < buckets && first + i * bucketTime < to; i++) {
      const overlap = Math.min(to, first + (i + 1) * bucketTime) - Math.max(from, first + i * bucketTime);
      frames[i] = (frames[i] ?? 0) + (made * Math.max(0, overlap)) / (to - from);
    }
  }
  return frames.map((sum) => sum / (bucketTime / 1000));
}

// A SpeedChart shows how fast the cluster was, by the jobs of the last day.
export function SpeedChart({ jobs }: { jobs: Job[] }) {
  const [over, setOver] = useState<number | undefined>(undefined);
  const end = Math.ceil(now.value.getTime() / bucketTime) * bucketTime;
  const speeds = speedsOf(jobs, end), most = Math.max(...speeds);
  if (most <= 0) return null;
  const points = speeds.map((speed, i) => `${((i + 0.5) * width) / buckets},${height - (speed / most) * (height - 4)}`);
  const at = over === undefined ? undefined : new Date(end - (buckets - over) * bucketTime);
  return (
    <section class="card speed" aria-labelledby="speed">
      <header class="head"><h2 id="speed">Speed of the cluster</h2><span class="grow" /><span class="muted num">{at && over !== undefined ? `${clock(at)}: ${fps(speeds[over] ?? 0)}` : `up to ${fps(most)} within ${hours} h`}</span></header>
      <svg viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img" aria-label={`The last ${hours} hours: up to ${fps(most)}, lately ${fps(speeds[buckets - 1] ?? 0)}`}
        onPointerMove={(event) => { const box = event.currentTarget.getBoundingClientRect(); setOver(Math.max(0, Math.min(buckets - 1, Math.floor(((event.clientX - box.left) / box.width) * buckets)))); }} onPointerLeave={() => setOver(undefined)}>
        <polygon points={`0,${height} ${points.join(" ")} ${width},${height}`} class="area" />
        <polyline points={points.join(" ")} class="curve" />
        {over !== undefined && <line x1={((over + 0.5) * width) / buckets} x2={((over + 0.5) * width) / buckets} y1={0} y2={height} class="pointer" />}
      </svg>
      <p class="axis muted num" aria-hidden="true"><span>{clock(new Date(end - buckets * bucketTime))}</span><span>{clock(new Date(end - (buckets / 2) * bucketTime))}</span><span>now</span></p>
    </section>
  );
}
