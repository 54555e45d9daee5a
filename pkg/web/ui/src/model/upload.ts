import { signal } from "@preact/signals";
import { attempt, messageOf, tell } from "./act";
import { authHeaders, Problem, send } from "./api";
import type { Job, JobRequest } from "./types";

// An Upload is a file on its way to the media share, which becomes a job there.
export interface Upload {
  id: number;
  file: File;
  state: "waiting" | "sending" | "paused" | "failed" | "done";
  sent: number; // bytes
  problem: string;
  pause?: () => void;
  resume: () => void;
  cancel: () => void;
}

export const uploads = signal<Upload[]>([]);
let numbers = 0;

function change(id: number, to: Partial<Upload>): void {
  uploads.value = uploads.value.map((upload) => (upload.id === id ? { ...upload, ...to } : upload));
}

function pathOf(file: File): string {
  return "uploads/" + file.name.replace(/^\.+/, "");
}

const encoded = (path: string): string => path.split("/").map(encodeURIComponent).join("/");

// put sends a file in one request, and tells how far it is.
function put(path: string, file: File, onSent: (bytes: number) => void, abort: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", "/api/v1/media/" + encoded(path));
    for (const [name, value] of Object.entries(authHeaders())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onSent(event.loaded);
    request.onerror = () => reject(new Problem("The connection to pibootd ended.", 0));
    request.onabort = () => reject(new Problem("Given up.", 0));
    request.onload = () => {
      if (request.status < 300) return resolve();
      let said: { error?: string } = {};
      try {
        said = JSON.parse(request.responseText) as { error?: string };
      } catch {
        // no JSON: something before pibootd answers
      }
      reject(new Problem(said.error ?? request.statusText, request.status));
    };
    abort.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

export interface Submitted { job: Job; existed: boolean }

export function submit(request: JobRequest, again = false): Promise<Submitted> {
  return attempt(() => send<Submitted>("POST", "jobs" + (again ? "?force=true" : ""), request));
}

async function run(id: number, file: File, options: Omit<JobRequest, "source">, abort: AbortController): Promise<void> {
  const path = pathOf(file);
  try {
    // A connection that is refused midway tells no reason, so it is asked first.
    await attempt(() => send("PUT", `media/${encoded(path)}?check=${file.size}`));
    change(id, { state: "sending", problem: "", sent: 0 });
    await attempt(() => put(path, file, (sent) => change(id, { sent }), abort.signal));
    const { job } = await submit({ ...options, source: path });
    change(id, { state: "done", sent: file.size });
    tell(`${file.name} is job ${job.id}.`);
  } catch (error) {
    change(id, { state: "failed", problem: messageOf(error) });
  }
}

// Files are sent one after the other: two at a time would each take twice as long.
let queue: Promise<void> = Promise.resolve();

export function upload(files: File[], options: Omit<JobRequest, "source">): void {
  for (const file of files) {
    const id = ++numbers, abort = new AbortController();
    const start = () => { queue = queue.then(() => (abort.signal.aborted ? undefined : run(id, file, options, abort))); };
    const cancel = () => {
      abort.abort();
      uploads.value = uploads.value.filter((one) => one.id !== id);
    };
    const one: Upload = { id, file, state: "waiting", sent: 0, problem: "", resume: () => { change(id, { state: "waiting", problem: "" }); start(); }, cancel };
    uploads.value = [...uploads.value, one];
    start();
  }
}
