// What the API answers with, as far as the dashboard uses it. docs/api.md describes it.

export type StageName = "power" | "address" | "firmware" | "kernel" | "root" | "init" | "worker";

export interface Stage {
  stage: StageName;
  started?: string;
  seconds?: number;
  median?: number;
}

// What is wrong with a board, in one sentence, and what to do about it.
export interface Diagnosis {
  model?: string; // of the board, such as 4B
  state: "well" | "booting" | "stuck" | "off" | "slow";
  stage?: StageName;
  since?: string;
  deadline?: string;
  code?: string;
  sentence?: string;
  action?: string;
  stages?: Stage[];
}

export interface Event {
  id?: number;
  at: string;
  board: string;
  name?: string;
  kind: string;
  addr?: string;
  mac?: string;
  file?: string;
  bytes?: number;
  took_ns?: number;
  export?: string;
  detail?: string;
}

export interface Speed {
  encoder: string;
  lines: number;
  fps: number;
}

export interface Hello {
  hostname?: string;
  version?: string;
  arch?: string;
  ffmpeg?: string;
  cpus?: number;
  memory?: number;
  encoders?: string[];
  decoders?: string[];
  speeds?: Speed[];
  locked?: string;
  machine?: MachineCondition;
}

// How the machine of a worker is.
export interface MachineCondition {
  throttled?: number; // bits of GET_THROTTLED; the diagnosis says what they mean
  temperature?: number; // °C
  load?: number;
}

export interface Worker {
  name: string;
  hello: Hello;
  online: boolean;
  job?: number;
  unit?: string;
  frames?: number;
  fps?: number;
  drained?: boolean;
  labels?: string[];
}

export interface BoardSettings {
  mux_id?: number;
  hw_decode?: boolean;
  volatile?: boolean;
  gpu_mem?: number;
  args?: string[];
  config?: string[];
  boot_menu?: string;
  durable?: "strict" | "relaxed";
  labels?: string[];
  weight?: number;
}

export interface Board {
  id: number;
  serial: string;
  mac: string;
  name: string;
  ip: string;
  template: string;
  version: number;
  arch: string;
  settings: BoardSettings;
  added: string;
  online: boolean;
  worker?: Worker;
  last?: Event;
  diagnosis?: Diagnosis;
}

// A worker that is no board, such as a PC.
export interface Machine {
  name: string;
  labels?: string[];
  weight?: number;
  added: string;
  online: boolean;
  worker?: Worker;
}

// A board that asked for an address and is not registered.
export interface Discovered {
  mac: string;
  serial?: string;
  model?: string;
  first_seen: string;
  last_seen: string;
}

export type JobState = "queued" | "running" | "publishing" | "done" | "failed" | "cancelled";

export interface Rung {
  lines?: number;
  width?: number;
  height?: number;
  bitrate_bps?: number;
}

export interface JobRequest {
  source: string;
  name?: string;
  format?: "hls" | "mp4" | "mkv";
  segments?: string;
  codec?: string;
  encoder?: string;
  progressive?: boolean;
  labels?: string[];
  [option: string]: unknown;
}

export interface Unit {
  id: string;
  kind: string;
  state: "waiting" | "pending" | "running" | "done" | "failed" | "cancelled"; // waiting for other units of its job
  attempt: number;
  worker?: string;
  second_worker?: string;
  failed_on?: string;
  failed_why?: string;
  frames: number;
  total_frames: number;
  fps: number;
}

export interface Job {
  id: number;
  state: JobState;
  request: JobRequest;
  output?: string;
  note?: string;
  reason?: string;
  stderr?: string[];
  created: string;
  started?: string;
  ended?: string;
  priority: "hi" | "normal" | "low";
  paused?: boolean;
  frames: number;
  total_frames: number;
  fps: number;
  eta?: number; // nanoseconds
  units?: Record<string, Unit>;
}

export interface Rendition {
  width?: number;
  height?: number;
  bps: number;
  codecs?: string;
}

// A stream or file that can be played.
export interface Video {
  path: string;
  name: string;
  kind: "hls" | "mp4" | "mkv";
  bytes: number;
  modified: string;
  seconds?: number;
  poster?: string;
  storyboard?: string;
  renditions?: Rendition[];
  audio?: string[];
  subtitles?: string[];
}

// A directory of the media share.
export interface ShareDir { path: string; files: ShareFile[]; more?: boolean }
export interface ShareFile { name: string; dir?: boolean; bytes?: number; modified: string }

// What was deleted of the media share, and can be put back.
export interface Deleted { id: string; path: string; by?: string; bytes: number; deleted: string; expires?: string }

export interface Template {
  name: string;
  version: number;
  arch: string;
  os: string;
  kernels: string[] | null;
  boot_dir: string;
  boards?: string[];
  size_bytes: number;
  files: number;
  created: string;
}

// A line of what a board logs.
export interface LogLine { id: number; at: string; board: string; source: "netconsole" | "syslog" | "journal"; severity: number; program?: string; text: string }

// A template that is being made, or was.
export interface Operation {
  id: number;
  name: string;
  recipe: "minimal" | "debian" | "import" | "from-pi";
  source?: string;
  created: string;
  state: "waiting" | "running" | "done" | "failed" | "cancelled";
  step?: string;
  done?: number;
  total?: number;
  template?: string;
  changes?: { file: string; what: string }[];
  error?: string;
  ended?: string;
}

export interface System {
  version: string;
  pid: number;
  interface: string;
  network: string;
  state_dir: string;
  media_dir: string;
  http_port: number;
  media_free: number;
  state_free: number;
  media_size: number;
  state_size: number;
  uploads: boolean;
  older_jobs?: boolean; // there are more than the live stream has
  doctor?: { at: string; problems: number; warnings: number }; // what it found last
  rtmp_port?: number; // for encoders that send live streams; without it, none can
  trash_keep: number; // seconds; 0: until somebody removes them
}

// All that the live stream keeps up to date: things by key.
// A stream that is encoded while it is sent.
export interface LiveStream {
  name: string;
  job: number;
  source: string;
  state: "waiting" | "live" | "stopping" | "ended";
  started?: string;
  request: { live?: { listen?: boolean; keep?: boolean; dvr_seconds?: number }; labels?: string[] };
  renditions: string[];
  ingest?: string; // the worker that receives it
  encoder?: string; // from where an encoder sends it
  seconds: number;
  behind_seconds: number;
  connections: number;
  viewers: number;
  url: string;
}

// What an encoder needs to send a live stream.
export interface StreamKey { key: string; rtmp?: string }

export interface State {
  boards: Record<string, Board>;
  machines: Record<string, Machine>;
  discovered: Record<string, Discovered>;
  jobs: Record<string, Job>;
  media: Record<string, Video>;
  templates: Record<string, Template>;
  operations: Record<string, Operation>;
  trash: Record<string, Deleted>;
  streams: Record<string, LiveStream>;
  system?: System;
}

export interface Finding {
  subject: string;
  level: "ok" | "warning" | "problem";
  text: string;
  todo?: string;
}
