import { useEffect, useRef, useState } from "preact/hooks";
import { attempt, messageOf } from "../model/act";
import { Problem, send } from "../model/api";
import { bitrate, bytes, digits, runtime, span } from "../model/format";
import { state } from "../model/live";
import { frameRate, workTime, type Preview, type PreviewTrack } from "../model/preview";
import { path } from "../model/router";
import type { JobRequest } from "../model/types";
import { Button } from "./Button";

const settled = 600; // ms without a change of the options

// LadderPreview shows what a video would become before it is handed in. A worker has to look at
// it first, so that somebody has to ask; then it follows the options.
export function LadderPreview({ request }: { request: JobRequest }) {
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
      {preview && !problem && <Shown preview={preview} codec={request.codec ?? "h264"} />}
      {!preview && !problem && !busy && <p class="muted">Renditions, sound, subtitles, size and time, before anything is encoded.</p>}
    </section>
  );
}

function trackText(track: PreviewTrack): string {
  return [track.title || track.language || "und", track.channels && (track.channels > 2 ? `${track.channels} channels` : track.channels === 1 ? "mono" : "stereo"), track.bitrate_bps && bitrate(track.bitrate_bps)].filter(Boolean).join(", ");
}

function Shown({ preview, codec }: { preview: Preview; codec: string }) {
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
      {(preview.audio.length > 0 || preview.subtitles.length > 0) && <p class="labels">
        {preview.audio.map((track, i) => <span key={"a" + i} class="label">{trackText(track)}</span>)}
        {preview.subtitles.map((track, i) => <span key={"s" + i} class="label">subtitles: {track.title || track.language || track.name}</span>)}
      </p>}
      {preview.note?.split("\n").map((sentence) => <p key={sentence} class="muted">{sentence}</p>)}
      <p class="num">{runtime(preview.seconds)} of {digits(fps)} fps{preview.bytes > 0 && <> become some {bytes(preview.bytes)}</>}{time > 0 && <>, in about {span(time)} if nothing else runs</>}.</p>
    </>
  );
}
