import type { JobRequest, Rung } from "../model/types";
import { words } from "./AddBoard";
import { CheckField, ChoiceField, TextField } from "./Field";

export interface Options {
  makes: "hls" | "mp4" | "mkv";
  segments: string;
  codec: string;
  ladder: string;
  rungs: string;
  quality: string;
  audio: string;
  audioRate: string;
  languages: string;
  seconds: string;
  maxFPS: string;
  hdr: string;
  deinterlace: string;
  encrypted: boolean;
  pictures: boolean;
  name: string;
  labels: string;
  kept: Record<string, unknown>; // of a job that is done again: options that the form does not have
}

export const noOptions: Options = {
  makes: "hls", segments: "", codec: "h264", ladder: "apple", rungs: "", quality: "", audio: "", audioRate: "", languages: "", seconds: "", maxFPS: "", hdr: "", deinterlace: "",
  encrypted: false, pictures: true, name: "", labels: "", kept: {},
};

const ours = ["source", "sidecars", "name", "format", "segments", "codec", "ladder", "rungs", "crf", "audio_codec", "audio_bps", "audio_langs", "segment_seconds", "max_fps", "hdr", "deinterlace", "encrypted", "no_pictures", "labels"];

const text = (value: unknown): string => (typeof value === "number" && value !== 0 ? String(value) : typeof value === "string" ? value : "");

// optionsOf fills the form in with what a job asked for.
export function optionsOf(request: JobRequest): Options {
  const list = (value: unknown): string => (Array.isArray(value) ? value.join(" ") : "");
  const rungs = Array.isArray(request["rungs"]) ? (request["rungs"] as Rung[]) : [];
  return {
    ...noOptions, makes: request.format ?? "hls", segments: request.segments ?? "", codec: request.codec ?? "h264", ladder: text(request["ladder"]) || "apple",
    rungs: rungs.map((rung) => (rung.lines ?? (rung.width ? `${rung.width}x${rung.height ?? ""}` : "source")) + (rung.bitrate_bps ? ":" + Math.round(rung.bitrate_bps / 1000) + "k" : "")).join(" "),
    quality: text(request["crf"]), audio: text(request["audio_codec"]), audioRate: request["audio_bps"] ? String(Number(request["audio_bps"]) / 1000) : "", languages: list(request["audio_langs"]),
    seconds: text(request["segment_seconds"]), maxFPS: text(request["max_fps"]), hdr: text(request["hdr"]), deinterlace: text(request["deinterlace"]), encrypted: request["encrypted"] === true,
    pictures: request["no_pictures"] !== true, name: request.name ?? "", labels: list(request.labels), kept: Object.fromEntries(Object.entries(request).filter(([name]) => !ours.includes(name))),
  };
}

// rungOf reads a rendition as the command line has it: 720:2500k, 600x400:128k, source:2M.
function rungOf(word: string): Rung {
  const [size = "", rate = ""] = word.split(":");
  const [width, height] = size.split("x").map(Number);
  const shape: Rung = size === "source" ? { lines: 0 } : size.includes("x") ? { lines: 0, width: width || 0, height: height || 0 } : { lines: Number(size) || 0 };
  const number = parseFloat(rate) * (/m$/i.test(rate) ? 1e6 : /k$/i.test(rate) ? 1e3 : 1);
  return number > 0 ? { ...shape, bitrate_bps: Math.round(number) } : shape;
}

// requestOf leaves out what pibootd decides by itself.
export function requestOf(o: Options): Omit<JobRequest, "source"> {
  const hls = o.makes === "hls";
  const all: Record<string, unknown> = {
    ...o.kept, format: o.makes, codec: o.codec, name: o.name.trim(), labels: words(o.labels), crf: Number(o.quality), audio_codec: o.audio, audio_bps: Math.round(Number(o.audioRate) * 1000), audio_langs: words(o.languages),
    max_fps: Number(o.maxFPS), hdr: o.hdr, deinterlace: o.deinterlace, rungs: words(o.rungs).map(rungOf),
    ...(hls ? { segments: o.segments || (o.codec === "h264" ? "" : "cmaf"), ladder: o.ladder, segment_seconds: Number(o.seconds), encrypted: o.encrypted, no_pictures: !o.pictures } : {}),
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== "" && value !== 0 && value !== false && !(Array.isArray(value) && value.length === 0)));
}

interface Properties {
  options: Options;
  onChange: (options: Options) => void;
  problem: { text: string; field?: string | undefined };
}

export function OptionsForm({ options: o, onChange, problem }: Properties) {
  const set = (to: Partial<Options>) => onChange({ ...o, ...to });
  const wrong = (field: string) => (problem.field === field ? problem.text : undefined);
  const hls = o.makes === "hls";
  return (
    <>
      <div class="pair">
        <ChoiceField label="Into" value={o.makes} onChange={(makes) => set({ makes: makes as Options["makes"] })} options={[["hls", "HLS, a stream"], ["mp4", "MP4, a file"], ["mkv", "MKV, a file"]]} problem={wrong("format")} />
        <ChoiceField label="Codec" value={o.codec} onChange={(codec) => set({ codec })} options={[["h264", "H.264, plays everywhere"], ["h265", "H.265, smaller"], ["av1", "AV1, smallest, slow"]]} problem={wrong("codec")} />
      </div>
      {hls && (
        <div class="pair">
          <ChoiceField label="Renditions" value={o.ladder} onChange={(ladder) => set({ ladder })} options={[["apple", "the source's size and the usual below"], ["author", "three bitrates of one size"]]} help={o.rungs ? "Those of your own, below, take their place." : undefined} />
          <ChoiceField label="Segments" value={o.segments} onChange={(segments) => set({ segments })} options={[["", o.codec === "h264" ? "MPEG-TS" : "CMAF"], ...(o.codec === "h264" ? [["cmaf", "CMAF (fragmented MP4)"] as [string, string]] : [])]} problem={wrong("segments")} />
        </div>
      )}
      <TextField label="Name of the result" value={o.name} onChange={(name) => set({ name })} placeholder="as the video" problem={wrong("name")} />
      <details class="more-options">
        <summary>More options</summary>
        <div class="stack">
          <TextField label="Renditions of your own" value={o.rungs} onChange={(rungs) => set({ rungs })} placeholder="720:2500k 360:800k" help="Size and bitrate of each; source:2M has the source's size." problem={wrong("rungs")} />
          <div class="pair">
            <TextField label="Quality (CRF)" type="number" value={o.quality} onChange={(quality) => set({ quality })} placeholder="by bitrate" problem={wrong("crf")} />
            <TextField label="Frames per second, at most" type="number" value={o.maxFPS} onChange={(maxFPS) => set({ maxFPS })} placeholder="60" problem={wrong("max_fps")} />
          </div>
          <div class="pair">
            <ChoiceField label="Sound" value={o.audio} onChange={(audio) => set({ audio })} options={[["", "AAC"], ["mp3", "MP3"], ["ac3", "AC-3"], ["eac3", "E-AC-3"], ["opus", "Opus"], ["none", "none"]]} problem={wrong("audio_codec")} />
            <TextField label="Its bitrate, in kb/s" type="number" value={o.audioRate} onChange={(audioRate) => set({ audioRate })} placeholder="48 for each channel" problem={wrong("audio_bps")} />
          </div>
          <TextField label="Languages of the sound" value={o.languages} onChange={(languages) => set({ languages })} placeholder="all" help="Such as de en: only these are kept, and the first is the default." problem={wrong("audio_langs")} />
          <div class="pair">
            <ChoiceField label="HDR" value={o.hdr} onChange={(hdr) => set({ hdr })} options={[["", "kept where the codec can"], ["sdr", "to SDR"], ["keep", "kept, or refused"]]} problem={wrong("hdr")} />
            <ChoiceField label="Interlaced pictures" value={o.deinterlace} onChange={(deinterlace) => set({ deinterlace })} options={[["", "a frame of two fields"], ["field", "a frame of each field"], ["off", "left as they are"]]} problem={wrong("deinterlace")} />
          </div>
          {hls && <TextField label="Length of a segment, in s" type="number" value={o.seconds} onChange={(seconds) => set({ seconds })} placeholder="4" problem={wrong("segment_seconds")} />}
          {hls && <CheckField label="Encrypt (AES-128)" checked={o.encrypted} onChange={(encrypted) => set({ encrypted })} />}
          {hls && <CheckField label="Poster and storyboard" checked={o.pictures} onChange={(pictures) => set({ pictures })} />}
          <TextField label="Only on workers with these labels" value={o.labels} onChange={(labels) => set({ labels })} placeholder="any" problem={wrong("labels")} />
        </div>
      </details>
    </>
  );
}
