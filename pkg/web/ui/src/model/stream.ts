import type { Shape } from "../parts/Icon";
import type { Job, LiveStream } from "./types";
import { span } from "./format";

type Look = [shape: Shape, word: string];

const looks: Record<LiveStream["state"], Look> = {
  waiting: ["queued", "waiting"], live: ["running", "live"], stopping: ["publishing", "ending"], ended: ["done", "ended"],
};

// lateAfter is from when on encoding is called behind, in seconds: a player holds back three.
const lateAfter = 6;

export const isLate = (stream: LiveStream): boolean => stream.state === "live" && stream.behind_seconds > lateAfter;

export function lookOf(stream: LiveStream): Look {
  return isLate(stream) ? ["warning", "behind"] : looks[stream.state];
}

// originOf says where a stream comes from.
export function originOf(stream: LiveStream): string {
  if (!stream.request.live?.listen) return stream.source;
  return stream.encoder ? "encoder at " + stream.encoder : "waits for an encoder";
}

// workersOf says who works on a stream.
export function workersOf(stream: LiveStream, job: Job | undefined): string {
  const encode = new Set(Object.values(job?.units ?? {}).filter((unit) => unit.state === "running" && unit.kind === "video").map((unit) => unit.worker));
  const names = [...encode].filter((one) => one !== undefined).sort();
  if (stream.ingest && names.length === 1 && names[0] === stream.ingest) return `${stream.ingest} receives and encodes`;
  return [stream.ingest && `${stream.ingest} receives`, names.length > 0 && `${names.join(", ")} encode${names.length > 1 ? "" : "s"}`].filter(Boolean).join("; ") || "no worker yet";
}

export const receivedOf = (stream: LiveStream): string => (stream.seconds > 0 ? span(Math.round(stream.seconds)) + " received" : "nothing received");
