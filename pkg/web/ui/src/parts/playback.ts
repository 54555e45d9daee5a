import Hls, { type ErrorData } from "hls.js";

export interface Track { value: string; text: string }

// What a player can be asked for, and what it does.
export interface Tracks {
  levels: Track[];
  audio: Track[];
  subtitles: Track[];
  level: string;
  audioTrack: string;
  subtitle: string;
}

export interface Playback {
  setLevel: (value: string) => void;
  setAudio: (value: string) => void;
  setSubtitle: (value: string) => void;
  end: () => void;
}

interface Listener {
  onTracks: (tracks: Tracks) => void;
  onProblem: (text: string) => void;
}

export const noTracks: Tracks = { levels: [], audio: [], subtitles: [], level: "-1", audioTrack: "", subtitle: "-1" };

const cannot = "This browser cannot play it. VLC and mpv can, from the address below.";

function tracksOf(hls: Hls): Tracks {
  return {
    levels: hls.levels.length < 2 ? [] : [{ value: "-1", text: "auto" }, ...hls.levels.map((level, i) => ({ value: String(i), text: (level.height ? Math.min(level.width, level.height) + "p" : "sound") + `, ${Math.round(level.bitrate / 1000)} kb/s` })).reverse()],
    audio: hls.audioTracks.length < 2 ? [] : hls.audioTracks.map((track, i) => ({ value: String(i), text: track.name })),
    subtitles: hls.subtitleTracks.length === 0 ? [] : [{ value: "-1", text: "off" }, ...hls.subtitleTracks.map((track, i) => ({ value: String(i), text: track.name }))],
    level: hls.autoLevelEnabled ? "-1" : String(hls.loadLevel), audioTrack: String(hls.audioTrack), subtitle: String(hls.subtitleTrack),
  };
}

function playStream(video: HTMLVideoElement, address: string, to: Listener): Playback {
  const hls = new Hls({ enableWorker: false, capLevelToPlayerSize: true });
  const tell = () => to.onTracks(tracksOf(hls));
  let repaired = false;
  const fail = (_: string, data: ErrorData) => {
    if (!data.fatal) return;
    if (data.type === Hls.ErrorTypes.MEDIA_ERROR && !repaired && data.details !== Hls.ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR) {
      repaired = true;
      hls.recoverMediaError();
      return;
    }
    to.onProblem(data.type === Hls.ErrorTypes.NETWORK_ERROR ? `It cannot be loaded: ${data.response?.code ? `status ${data.response.code}` : data.details}.` : cannot);
  };
  for (const event of [Hls.Events.MANIFEST_PARSED, Hls.Events.LEVEL_SWITCHED, Hls.Events.AUDIO_TRACKS_UPDATED, Hls.Events.AUDIO_TRACK_SWITCHED, Hls.Events.SUBTITLE_TRACKS_UPDATED, Hls.Events.SUBTITLE_TRACK_SWITCH] as const) hls.on(event, tell);
  hls.on(Hls.Events.ERROR, fail);
  hls.loadSource(address);
  hls.attachMedia(video);
  return {
    setLevel: (value) => { hls.currentLevel = Number(value); tell(); },
    setAudio: (value) => { hls.audioTrack = Number(value); },
    setSubtitle: (value) => { hls.subtitleTrack = Number(value); hls.subtitleDisplay = value !== "-1"; },
    end: () => hls.destroy(),
  };
}

// playFile plays a file, or a stream where the browser does that by itself.
function playFile(video: HTMLVideoElement, address: string, to: Listener): Playback {
  const texts = () => [...video.textTracks];
  const tell = () => to.onTracks({ ...noTracks, subtitles: texts().length ? [{ value: "-1", text: "off" }, ...texts().map((track, i) => ({ value: String(i), text: track.label || track.language || `track ${i + 1}` }))] : [], subtitle: String(texts().findIndex((track) => track.mode === "showing")) });
  const fail = () => to.onProblem(cannot);
  video.addEventListener("error", fail);
  video.addEventListener("loadedmetadata", tell);
  video.src = address;
  return {
    setLevel: () => undefined,
    setAudio: () => undefined,
    setSubtitle: (value) => { texts().forEach((track, i) => { track.mode = String(i) === value ? "showing" : "disabled"; }); tell(); },
    end: () => {
      video.removeEventListener("error", fail);
      video.removeEventListener("loadedmetadata", tell);
      video.removeAttribute("src");
      video.load();
    },
  };
}

export function playInto(video: HTMLVideoElement, address: string, to: Listener): Playback {
  if (!address.endsWith(".m3u8")) return playFile(video, address, to);
  if (Hls.isSupported()) return playStream(video, address, to);
  if (video.canPlayType("application/vnd.apple.mpegurl")) return playFile(video, address, to);
  to.onProblem(cannot);
  return { setLevel: () => undefined, setAudio: () => undefined, setSubtitle: () => undefined, end: () => undefined };
}
