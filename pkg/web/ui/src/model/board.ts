import type { Board, Machine, StageName, State, Worker } from "./types";

// What a board or another worker is doing, as the dashboard shows it.
export type Condition = "working" | "well" | "resting" | "booting" | "slow" | "stuck" | "off" | "new";

export interface View {
  key: string; // its address in the dashboard is /boards/NAME; a machine's key is its name
  name: string;
  condition: Condition;
  word: string; // the state in a word or two
  sentence: string; // what it does or what is wrong, "" if the word says it all
  action: string; // what to do about it
  stage: StageName | "";
  since: string;
  labels: string[];
  board?: Board;
  machine?: Machine;
  worker: Worker | undefined;
}

export const conditions: Condition[] = ["stuck", "slow", "booting", "working", "well", "resting", "off"];

export const conditionWords: Record<Condition, string> = {
  working: "working", well: "well", resting: "resting", booting: "booting", slow: "slow", stuck: "stuck", off: "off", new: "new",
};

export const stages: StageName[] = ["power", "address", "firmware", "kernel", "root", "init", "worker"];

export const stageWords: Record<StageName, string> = {
  power: "switched on", address: "asking for its address", firmware: "loading its firmware", kernel: "loading its kernel",
  root: "mounting its root", init: "starting its system", worker: "starting its worker",
};

// stageOf tells from an event how far a boot has come.
export function stageOf(kind: string, file = ""): StageName | "" {
  switch (kind) {
    case "discover": case "offer": case "request": case "nak": case "declined": return "address";
    case "ack": return "firmware";
    case "file": case "file_missing": case "file_aborted": case "file_failed":
      return /(kernel[^/]*\.img|vmlinuz|initrd|initramfs|Image)/.test(file) ? "kernel" : "firmware";
    case "mount": return "init";
    case "mount_refused": return "root";
    case "worker_online": case "outdated": return "worker";
    default: return "";
  }
}

const bootTime = 180; // s: a board whose last sign of booting is older has stopped
const forgotten = 3600; // s: and one that has been silent for so long is off

function ofWorker(worker: Worker): Pick<View, "condition" | "word" | "sentence"> {
  if (worker.hello.locked) return { condition: "resting", word: "resting", sentence: worker.hello.locked };
  if (worker.job) {
    const word = worker.drained ? "finishing" : "working";
    return { condition: "working", word, sentence: `job ${worker.job}, ${worker.unit ?? ""}` };
  }
  if (worker.drained) return { condition: "resting", word: "drained", sentence: "takes no more work until that is ended" };
  return { condition: "well", word: "well", sentence: "" };
}

function byEvents(board: Board, now: Date): Pick<View, "condition" | "word" | "sentence" | "stage"> {
  const last = board.last;
  const age = last ? (now.getTime() - new Date(last.at).getTime()) / 1000 : Infinity;
  const stage = last ? stageOf(last.kind, last.file) : "";
  if (!last || !stage || age > forgotten || last.kind === "worker_offline") return { condition: "off", word: "off", sentence: "", stage: "" };
  if (age <= bootTime) return { condition: "booting", word: "booting", sentence: stageWords[stage], stage };
  return { condition: "stuck", word: "stuck", sentence: `It stopped while ${stageWords[stage]}.`, stage };
}

function byDiagnosis(board: Board): Pick<View, "condition" | "word" | "sentence" | "stage"> | undefined {
  const d = board.diagnosis;
  if (!d) return undefined;
  const stage = d.stage ?? "";
  switch (d.state) {
    case "well": return undefined;
    case "booting": return { condition: "booting", word: "booting", sentence: d.sentence || (stage ? stageWords[stage] : ""), stage };
    default: return { condition: d.state, word: d.state, sentence: d.sentence ?? "", stage };
  }
}

// modelOf names a board's model, such as Pi 4B; "" until it has booted here.
export const modelOf = (board: Board): string => (board.diagnosis?.model ? "Pi " + board.diagnosis.model : "");

// A view that says the same as before is the same object, so that its row is not drawn
// again.
const known = new WeakMap<Board | Machine, View>();

function same(of: Board | Machine, view: View): View {
  const before = known.get(of);
  const equal = before && (Object.keys(view) as (keyof View)[]).every((name) => name === "labels" || view[name] === before[name]);
  if (equal) return before;
  known.set(of, view);
  return view;
}

// bare is a sentence without the name that it begins with, for behind that name.
function bare(sentence: string, name: string): string {
  return sentence.startsWith(name + " ") ? sentence.slice(name.length + 1) : sentence;
}

export function viewOf(board: Board, now: Date): View {
  const rest = { condition: "off" as Condition, word: "off", sentence: "", stage: "" as StageName | "" };
  const worker = board.worker;
  const seen = byDiagnosis(board) ?? (board.online && worker ? { ...rest, ...ofWorker(worker) } : byEvents(board, now));
  return same(board, {
    ...rest, ...seen, sentence: bare(seen.sentence, board.name), key: board.serial, name: board.name, board, worker,
    action: board.diagnosis?.action ?? "", since: board.diagnosis?.since ?? board.last?.at ?? "", labels: board.settings.labels ?? [],
  });
}

export function machineView(machine: Machine): View {
  const off = { condition: "off" as Condition, word: "off", sentence: "" };
  return same(machine, {
    ...off, ...(machine.online && machine.worker ? ofWorker(machine.worker) : {}), key: machine.name, name: machine.name, machine,
    worker: machine.worker, action: "", stage: "", since: "", labels: machine.labels ?? [],
  });
}

// Natural order: hlspi2 comes before hlspi10.
const names = new Intl.Collator("en", { numeric: true });
export const byName = (a: { name: string }, b: { name: string }): number => names.compare(a.name, b.name);

export function allViews(state: State, now: Date): View[] {
  return [...Object.values(state.boards).map((board) => viewOf(board, now)), ...Object.values(state.machines).map(machineView)].sort(byName);
}

export function workerName(state: State | undefined, worker: string): string {
  return state?.boards[worker]?.name ?? worker;
}
