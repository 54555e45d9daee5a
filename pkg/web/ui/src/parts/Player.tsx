import { useEffect, useRef, useState } from "preact/hooks";
import { runtime } from "../model/format";
import { path } from "../model/router";
import type { Video } from "../model/types";
import { noTracks, playInto, type Playback, type Track, type Tracks } from "./playback";
import { scenesOf, type Scene } from "./storyboard";
import { SeekBar } from "./SeekBar";
import { Glyph } from "./Icon";

interface Times { at: number; length: number; buffered: number; playing: boolean; muted: boolean }

function timesOf(video: HTMLVideoElement): Times {
  const length = Number.isFinite(video.duration) ? video.duration : 0;
  const buffered = video.buffered.length ? video.buffered.end(video.buffered.length - 1) : 0;
  return { at: video.currentTime, length, buffered, playing: !video.paused && !video.ended, muted: video.muted };
}

function useScenes(video: Video): Scene[] {
  const [scenes, setScenes] = useState<Scene[]>([]);
  useEffect(() => {
    if (!video.storyboard) return;
    const address = path.media(video.storyboard);
    fetch(address).then((answer) => (answer.ok ? answer.text() : "")).then((text) => setScenes(scenesOf(text, address)), () => undefined);
  }, [video.storyboard]);
  return scenes;
}

// A Player plays a video in the page, with a choice of quality, sound and subtitles.
// It stays at the address that it began with: that of a stream that is made serves it when it is done, too.
export function Player({ video, address }: { video: Video; address: string }) {
  const [source] = useState(address);
  const frame = useRef<HTMLDivElement>(null), element = useRef<HTMLVideoElement>(null), playback = useRef<Playback | undefined>(undefined);
  const [tracks, setTracks] = useState<Tracks>(noTracks);
  const [problem, setProblem] = useState("");
  const [times, setTimes] = useState<Times>({ at: 0, length: video.seconds ?? 0, buffered: 0, playing: false, muted: false });
  const scenes = useScenes(video);
  useEffect(() => {
    const shown = element.current;
    if (!shown) return;
    playback.current = playInto(shown, source, { onTracks: setTracks, onProblem: setProblem });
    return () => playback.current?.end();
  }, [source]);
  const note = () => { if (element.current) setTimes(timesOf(element.current)); };
  const seek = (to: number) => { if (element.current) { element.current.currentTime = to; note(); } };
  const toggle = () => { const shown = element.current; if (shown) void (shown.paused ? shown.play().catch(() => undefined) : shown.pause()); };
  const press = (event: KeyboardEvent) => {
    if (event.target instanceof HTMLSelectElement || event.target instanceof HTMLButtonElement) return;
    const shown = element.current;
    const keys: Record<string, () => void> = { " ": toggle, k: toggle, f: full, m: () => { if (shown) shown.muted = !shown.muted; }, j: () => seek(times.at - 10), l: () => seek(times.at + 10) };
    const run = keys[event.key];
    if (run) { event.preventDefault(); run(); }
  };
  const full = () => { void (document.fullscreenElement ? document.exitFullscreen() : frame.current?.requestFullscreen()); };
  const poster = video.poster ? { poster: path.media(video.poster) } : {};
  return (
    <div class={"player" + (times.playing ? " playing" : "")} ref={frame} onKeyDown={press}>
      <video ref={element} {...poster} playsInline aria-label={video.name} onClick={toggle} onTimeUpdate={note} onDurationChange={note} onProgress={note} onPlay={note} onPause={note} onEnded={note} onVolumeChange={note} />
      {problem && <p class="player-problem" role="alert">{problem}</p>}
      <div class="controls">
        <button type="button" onClick={toggle} aria-label={times.playing ? "Pause" : "Play"}><Glyph name={times.playing ? "pause" : "play"} /></button>
        <SeekBar times={times} scenes={scenes} onSeek={seek} />
        <span class="num time">{runtime(times.at)} / {runtime(times.length || (video.seconds ?? 0))}</span>
        <Menu label="Quality" tracks={tracks.levels} value={tracks.level} onChange={(value) => playback.current?.setLevel(value)} />
        <Menu label="Sound" tracks={tracks.audio} value={tracks.audioTrack} onChange={(value) => playback.current?.setAudio(value)} />
        <Menu label="Subtitles" tracks={tracks.subtitles} value={tracks.subtitle} onChange={(value) => playback.current?.setSubtitle(value)} />
        <button type="button" onClick={() => { if (element.current) element.current.muted = !element.current.muted; }} aria-pressed={times.muted}>{times.muted ? "Unmute" : "Mute"}</button>
        <button type="button" onClick={full}>Full screen</button>
      </div>
    </div>
  );
}

function Menu({ label, tracks, value, onChange }: { label: string; tracks: Track[]; value: string; onChange: (value: string) => void }) {
  if (tracks.length === 0) return null;
  return (
    <label class="menu"><span>{label}</span>
      <select aria-label={label} value={value} onChange={(event) => onChange(event.currentTarget.value)}>{tracks.map((track) => <option key={track.value} value={track.value}>{track.text}</option>)}</select>
    </label>
  );
}
