import type { State } from "./types";

export interface PreviewRung { name: string; width: number; height: number; bitrate_bps: number; maxrate_bps: number; crf?: number; codec?: string; ten_bit?: boolean; video_range?: string }
// A SourceTrack is sound or subtitles of the source, and whether the output has it.
export interface SourceTrack { kind: "audio" | "subtitles"; number: number; language?: string; title?: string; codec: string; channels?: number; file?: string; kept: boolean }

// What a job would make.
export interface Preview {
  seconds: number;
  size_bytes: number;
  video?: { codec: string; width: number; height: number; rate: string | { num: number; den: number } };
  renditions: PreviewRung[];
  tracks: SourceTrack[];
  note?: string;
  bytes: number;
  existing?: number;
}

const encoders: Record<string, RegExp> = { h264: /264/, h265: /265|hevc/, av1: /av1/, vp9: /vp9/ };

// workTime estimates how long the workers that are online need for the renditions, in s, by the
// speeds that they have measured: each of them encodes all renditions of a part in turn. 0: not known.
export function workTime(preview: Preview, codec: string, fps: number, state: State): number {
  const frames = preview.seconds * fps;
  let rate = 0;
  for (const one of [...Object.values(state.boards), ...Object.values(state.machines)]) {
    if (!one.online || !one.worker || one.worker.drained) continue;
    const speeds = one.worker.hello.speeds ?? [];
    let each = 0;
    for (const rung of preview.renditions) {
      const lines = Math.min(rung.width, rung.height);
      const fit = speeds.filter((speed) => encoders[rung.codec || codec]?.test(speed.encoder)).sort((a, b) => Math.abs(a.lines - lines) - Math.abs(b.lines - lines))[0];
      if (!fit) return 0;
      each += (lines * lines) / (fit.lines * fit.lines) / fit.fps; // seconds of a frame, by its area
    }
    if (each > 0) rate += 1 / each;
  }
  return rate > 0 ? frames / rate : 0;
}

export function frameRate(preview: Preview): number {
  const rate = preview.video?.rate;
  if (!rate) return 0;
  if (typeof rate === "object") return rate.num / (rate.den || 1);
  const [num = 0, den = 1] = rate.split("/").map(Number);
  return num / den;
}
