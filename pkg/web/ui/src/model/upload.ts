import { signal } from "@preact/signals";
import { act, attempt, messageOf, tell } from "./act";
import { Problem, send } from "./api";
import * as tus from "./tus";
import { makeTemplate, type NewTemplate } from "./template";
import type { Job, JobRequest } from "./types";

type Options = Omit<JobRequest, "source">;

// What becomes of a file that has arrived: a job, or a template.
export type Purpose = { options: Options } | { template: NewTemplate };

// An Upload is a file on its way to pibootd.
export interface Upload {
  id: number;
  file: File;
  state: "waiting" | "sending" | "paused" | "failed" | "done";
  sent: number; // bytes
  rate: number; // bytes a second; 0: not known yet
  path: string; // in the media share
  taken: boolean; // another file has this path
  problem: string;
  pause: () => void;
  resume: () => void;
  cancel: () => void;
  rename: (path: string) => void; // where its own is taken
  useOther: () => Promise<void>; // transcodes the file that is there
}

// What is remembered of an upload, so that it goes on when the page was loaded again:
// only the file itself has to be chosen once more.
export interface Begun { address: string; name: string; size: number; modified: number; path?: string; options?: Options; template?: NewTemplate }

const storage = "pibootd-uploads";

export const uploads = signal<Upload[]>([]);
export const begun = signal<Begun[]>(remembered());
let numbers = 0;

function remembered(): Begun[] {
  try {
    return JSON.parse(localStorage.getItem(storage) ?? "[]") as Begun[];
  } catch {
    return [];
  }
}

function remember(all: Begun[]): void {
  begun.value = all;
  localStorage.setItem(storage, JSON.stringify(all));
}

export function forgetBegun(one: Begun): void {
  remember(begun.value.filter((other) => other.address !== one.address));
}

export function begunOf(file: File): Begun | undefined {
  return begun.value.find((one) => one.name === file.name && one.size === file.size && one.modified === file.lastModified);
}

export interface Submitted { job: Job; existed: boolean }

export function submit(request: JobRequest, again = false): Promise<Submitted> {
  return attempt(() => send<Submitted>("POST", "jobs" + (again ? "?force=true" : ""), request));
}

function change(id: number, to: Partial<Upload>): void {
  uploads.value = uploads.value.map((upload) => (upload.id === id ? { ...upload, ...to } : upload));
}

const maxName = 200; // bytes, for pibootd

// nameOf is what pibootd can call a file: without leading dots and control characters, and short enough.
function nameOf(file: File): string {
  const name = file.name.replace(/^\.+/, "").replace(/[\u0000-\u001f\u007f]/g, "_"), dot = name.lastIndexOf(".");
  const end = dot > 0 && name.length - dot < 10 ? name.slice(dot) : "", stem = [...name.slice(0, name.length - end.length)];
  while (new TextEncoder().encode(stem.join("") + end).length > maxName) stem.pop();
  return stem.join("").trimEnd() + end;
}
const pathOf = (file: File): string => begunOf(file)?.path ?? "uploads/" + nameOf(file);

// nextPath is a name that may be free: after film.mp4 comes film-2.mp4.
export function nextPath(path: string): string {
  const [, stem = path, number = "1", end = ""] = /^(.*?)(?:-(\d+))?(\.[^./]*)?$/.exec(path) ?? [];
  return `${stem}-${Number(number) + 1}${end}`;
}
const waits = [1, 2, 5, 10, 20, 30, 60, 60, 60]; // s, after which a connection that broke off is tried again

const sleep = (seconds: number, abort: AbortSignal): Promise<void> => new Promise((resolve) => {
  const timer = setTimeout(resolve, seconds * 1000);
  abort.addEventListener("abort", () => { clearTimeout(timer); resolve(); });
});

// begin finds out how far an earlier upload of this file has come, or begins one.
async function begin(file: File, path: string, purpose: Purpose): Promise<{ address: string; offset: number }> {
  const before = begunOf(file);
  if (before) {
    try {
      return { address: before.address, offset: await attempt(() => tus.offsetOf(before.address)) };
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 404) throw error;
      forgetBegun(before); // it has expired
    }
  }
  const address = await attempt(() => ("template" in purpose ? tus.create(nameOf(file), file.size, "template") : tus.create(path, file.size)));
  remember([...begun.value, { address, name: file.name, size: file.size, modified: file.lastModified, path, ...purpose }]);
  return { address, offset: 0 };
}

// sendWhole sends a file, as often as the connection breaks off.
async function sendWhole({ id, file, path }: Upload, purpose: Purpose, abort: AbortSignal): Promise<void> {
  let tries = 0;
  for (;;) {
    try {
      const { address, offset } = await begin(file, path, purpose), started = Date.now();
      change(id, { state: "sending", sent: offset, rate: 0, problem: "" });
      const onSent = (sent: number) => { tries = 0; change(id, { sent, rate: ((sent - offset) * 1000) / Math.max(1, Date.now() - started) }); };
      if (offset < file.size) await tus.sendFrom(address, file, offset, onSent, abort);
      return;
    } catch (error) {
      const wait = waits[tries++];
      if (abort.aborted || wait === undefined || !(error instanceof Problem) || (error.status !== 0 && error.status !== 503)) throw error;
      change(id, { problem: `${error.message} It goes on as soon as that is back.` });
      await sleep(wait, abort);
    }
  }
}

// use makes of a file that has arrived what it is for, and says so.
async function use({ file, path }: Upload, purpose: Purpose): Promise<string> {
  if ("options" in purpose) return `${file.name} is job ${(await submit({ ...purpose.options, source: path })).job.id}.`;
  await makeTemplate({ ...purpose.template, upload: begunOf(file)?.address.split("/").pop() ?? "" });
  return `${file.name} has arrived. It becomes the template ${purpose.template.name}.`;
}

async function run(id: number, purpose: Purpose, abort: AbortSignal): Promise<void> {
  const mine = uploads.value.find((one) => one.id === id);
  if (!mine) return;
  try {
    await sendWhole(mine, purpose, abort);
    const done = begunOf(mine.file);
    const said = await use(mine, purpose);
    if (done) forgetBegun(done);
    change(id, { state: "done", sent: mine.file.size });
    tell(said);
  } catch (error) {
    const taken = error instanceof Problem && error.status === 409 && error.field === "filename" && "options" in purpose;
    change(id, abort.aborted ? { state: "paused", problem: "" } : { state: "failed", taken, problem: messageOf(error) });
  }
}

// Files are sent one after the other: two at a time would each take twice as long.
let queue: Promise<void> = Promise.resolve();

export function upload(files: File[], purpose: Purpose): void {
  for (const file of files) add(file, "options" in purpose ? { options: begunOf(file)?.options ?? purpose.options } : purpose);
}

function add(file: File, purpose: Purpose): void {
  const id = ++numbers;
  let abort = new AbortController();
  const start = () => {
    const mine = abort = new AbortController();
    queue = queue.then(() => (mine.signal.aborted ? undefined : run(id, purpose, mine.signal)));
  };
  const cancel = () => {
    abort.abort();
    uploads.value = uploads.value.filter((one) => one.id !== id);
    const one = begunOf(file);
    if (!one) return;
    forgetBegun(one);
    tus.remove(one.address).catch(() => undefined); // otherwise it expires
  };
  const pause = () => { abort.abort(); change(id, { state: "paused" }); };
  const resume = () => { change(id, { state: "waiting", taken: false, problem: "" }); start(); };
  const rename = (path: string) => { change(id, { path }); resume(); };
  const useOther = async () => {
    const mine = uploads.value.find((one) => one.id === id);
    if (mine && "options" in purpose && (await act(() => use(mine, purpose), (said) => said))) cancel();
  };
  uploads.value = [...uploads.value, { id, file, state: "waiting", sent: 0, rate: 0, path: pathOf(file), taken: false, problem: "", pause, resume, cancel, rename, useOther }];
  start();
}
