import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { attempt, messageOf } from "../model/act";
import { Problem, send } from "../model/api";
import { bitrate, bytes, digits, runtime, sentence, span, words } from "../model/format";
import { state } from "../model/live";
import { frameRate, workTime, type Preview, type SourceTrack } from "../model/preview";
import type { Options } from "../model/options";
import { path } from "../model/router";
import type { JobRequest } from "../model/types";
import { Button } from "./Button";
import { Glyph } from "./Icon";

const settled = 600; // ms without a change of the options

// LadderPreview shows what a video would become before it is handed in. A worker has to look at
// it first, so that somebody has to ask; then it follows the options.
export function LadderPreview({ request, options, onChange }: { request: JobRequest; options: Options; onChange: (options: Options) => void }) {
  const [preview, setPreview] = useState<Preview | undefined>(undefined);
  const [problem, setProblem] = useState("");
  const [wanted, setWanted] = useState(false);
  const [busy, setBusy] = useState(false);
  const text = JSON.stringify(request);
  const latest = useRef(text);
  latest.current = text;
  const look = async () => {
    setBusy(true);
    try {
      const next = await attempt(() => send<Preview>("POST", "jobs?dry_run=true", request));
      if (latest.current !== text) return;
      setPreview(next);
      setProblem("");
    } catch (error) {
      if (latest.current === text) setProblem(error instanceof Problem && error.status === 503 ? "No worker has looked at the video yet. Try again once one is free." : messageOf(error));
    } finally {
      setBusy(false);
    }
  };
  useEffect(() => {
    if (!wanted) return;
    const timer = setTimeout(() => void look(), settled);
    return () => clearTimeout(timer);
  }, [text]);
  useEffect(() => { setPreview(undefined); setProblem(""); }, [request.source]);
  return (
    <section class="card stack" aria-labelledby="preview" aria-busy={busy}>
      <header class="head"><h2 id="preview">What it becomes</h2><span class="grow" /><Button icon="again" onPress={() => { setWanted(true); return look(); }}>{preview || problem ? "Look again" : "Show"}</Button></header>
      {busy && !preview && <p class="muted" role="status">A worker looks at the video…</p>}
      {problem && <p class="problem" role="alert">{problem}</p>}
      {preview && !problem && <Shown preview={preview} codec={request.codec ?? "h264"}><Tracks tracks={preview.tracks} options={options} onChange={onChange} /></Shown>}
      {!preview && !problem && !busy && <p class="muted">Renditions, sound, subtitles, size and time, before anything is encoded.</p>}
    </section>
  );
}

function Shown({ preview, codec, children }: { preview: Preview; codec: string; children: ComponentChildren }) {
  const all = state.value, widest = Math.max(1, ...preview.renditions.map((rung) => rung.bitrate_bps || rung.maxrate_bps));
  const fps = frameRate(preview), time = all ? workTime(preview, codec, fps, all) : 0;
  return (
    <>
      {preview.existing ? <p>The same has been asked for: it is <a href={path.job(preview.existing)}>job {preview.existing}</a>.</p> : null}
      <ul class="rungs">
        {preview.renditions.map((rung) => (
          <li key={rung.name}>
            <span class="num">{rung.width}×{rung.height}</span>
            <span class="rungbar" aria-hidden="true"><span style={{ width: ((rung.bitrate_bps || rung.maxrate_bps) / widest) * 100 + "%" }} /></span>
            <span class="num muted">{rung.crf ? `quality ${rung.crf}, up to ${bitrate(rung.maxrate_bps)}` : bitrate(rung.bitrate_bps)}{rung.codec && ", " + rung.codec.toUpperCase()}{rung.video_range && ", HDR"}{rung.ten_bit && !rung.video_range && ", 10 bit"}</span>
            <span class="num muted end">{rung.crf ? "" : bytes((rung.bitrate_bps / 8) * preview.seconds)}</span>
          </li>
        ))}
      </ul>
      {children}
      {preview.note?.split("\n").map((text) => <p key={text} class="muted">{sentence(text)}</p>)}
      <p class="num">{runtime(preview.seconds)} of {digits(fps)} fps{preview.bytes > 0 && <> become some {bytes(preview.bytes)}</>}{time > 0 && <>, in about {span(time)} if nothing else runs</>}.</p>
    </>
  );
}

const languageNames = new Intl.DisplayNames(["en"], { type: "language", fallback: "none" });

function languageName(code: string | undefined): string {
  try {
    return (code && languageNames.of(code)) || code || "unknown language";
  } catch {
    return code ?? "";
  }
}

function trackText(track: SourceTrack): string {
  const shape = track.channels ? (track.channels > 2 ? `${track.channels} channels` : track.channels === 1 ? "mono" : "stereo") : "";
  return [languageName(track.language), track.title, shape, track.file && "a file beside it"].filter(Boolean).join(", ");
}

// Tracks switches tracks of the source on and off. The first of the sound is the one that
// players begin with.
function Tracks({ tracks, options, onChange }: { tracks: SourceTrack[]; options: Options; onChange: (options: Options) => void }) {
  const sound = tracks.filter((track) => track.kind === "audio"), subtitles = tracks.filter((track) => track.kind === "subtitles");
  const chosen = words(options["audio_tracks"] ?? "").map(Number), omitted = words(options["omit_subtitles"] ?? "").map(Number);
  const keeps = (track: SourceTrack) => (chosen.length > 0 ? chosen.includes(track.number) : track.kept);
  const kept = chosen.length > 0 ? chosen : sound.filter(keeps).map((track) => track.number);
  const setSound = (numbers: number[]) =>
    onChange({ ...options, audio_langs: "", audio_tracks: numbers.join(" "), audio_codec: numbers.length > 0 && options["audio_codec"] === "none" ? "" : numbers.length === 0 ? "none" : options["audio_codec"] ?? "" });
  const toggle = (track: SourceTrack) => setSound(keeps(track) ? kept.filter((number) => number !== track.number) : [...kept, track.number]);
  const toggleText = ({ number }: SourceTrack) => onChange({ ...options, omit_subtitles: (omitted.includes(number) ? omitted.filter((other) => other !== number) : [...omitted, number]).join(" ") });
  return (
    <>
      {sound.length > 0 && (
        <div class="tracks" role="group" aria-label="Sound"><span class="name" aria-hidden="true">Sound</span>
          {sound.map((track) => <Chip key={track.number} on={keeps(track)} text={trackText(track)} onPress={() => toggle(track)} />)}
          {kept.length > 1 && (
            <label>first <select value={kept[0]} onChange={(event) => { const first = Number(event.currentTarget.value); setSound([first, ...kept.filter((number) => number !== first)]); }}>
              {sound.filter(keeps).map((track) => <option key={track.number} value={track.number}>{languageName(track.language)}{track.title && ", " + track.title}</option>)}
            </select></label>
          )}
        </div>
      )}
      {subtitles.length > 0 && (
        <div class="tracks" role="group" aria-label="Subtitles"><span class="name" aria-hidden="true">Subtitles</span>
          {subtitles.map((track) => <Chip key={track.number} on={track.kept && !omitted.includes(track.number)} disabled={!track.kept && !omitted.includes(track.number)} text={trackText(track)} onPress={() => toggleText(track)} />)}
          <label>in the picture <select value={options["burn_subtitles"] ?? ""} onChange={(event) => onChange({ ...options, burn_subtitles: event.currentTarget.value })}>
            <option value="">none</option>
            {[...new Set(subtitles.map((track) => track.language || "und"))].map((language) => <option key={language} value={language}>{languageName(language)}</option>)}
          </select></label>
        </div>
      )}
    </>
  );
}

function Chip({ on, text, disabled = false, onPress }: { on: boolean; text: string; disabled?: boolean; onPress: () => void }) {
  return <button type="button" class="toggle" aria-pressed={on} disabled={disabled} onClick={onPress}><Glyph name={on ? "check" : "close"} />{text}</button>;
}
