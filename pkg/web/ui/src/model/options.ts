import { words } from "./format";
import type { JobRequest, Rung } from "./types";

// What people type or choose for each option, by its name in a job's request; "" is the default.
export type Options = Record<string, string>;

type Kind = "text" | "number" | "kilobits" | "words" | "numbers" | "rungs" | "arguments" | "check" | "uncheck" | "choice";

// An Option is one of what a job can be asked for, and how the form shows it.
export interface Option {
  field: string; // of the request
  label: string;
  kind: Kind;
  stream?: true; // HLS alone has it
  placeholder?: string;
  help?: string;
  choices?: [value: string, text: string][];
  standard?: string; // means the same as ""
}

export interface Group { title: string; options: Option[] }

// The form, in its order: all that a job can be asked for besides its source.
export const basic: Option[] = [
  { field: "format", label: "Into", kind: "choice", standard: "hls", choices: [["", "HLS, a stream"], ["mp4", "MP4, a file"], ["mkv", "MKV, a file"]] },
  { field: "codec", label: "Codec", kind: "choice", standard: "h264", choices: [["", "H.264, plays everywhere"], ["h265", "H.265, smaller"], ["av1", "AV1, smallest, slow"]] },
  { field: "ladder", label: "Renditions", kind: "choice", stream: true, standard: "apple", choices: [["", "the usual sizes and bitrates"], ["author", "three bitrates of one size"]] },
  { field: "segments", label: "Segments", kind: "choice", stream: true, choices: [["", "as the codec needs them"], ["ts", "MPEG-TS"], ["cmaf", "CMAF (fragmented MP4)"]] },
  { field: "name", label: "Name of the result", kind: "text", placeholder: "as the video" },
];

export const groups: Group[] = [
  { title: "Picture", options: [
    { field: "rungs", label: "Renditions of your own", kind: "rungs", placeholder: "720:2500k 360:800k", help: "Size and bitrate of each, in place of the usual ones; source:2M has the source's size." },
    { field: "quality", label: "Quality that decides the renditions", kind: "number", placeholder: "the usual bitrates", help: "1 to 100: short trials of the video show which sizes and bitrates it needs. 80 is good, 90 hard to tell from the source." },
    { field: "crf", label: "Quality (CRF)", kind: "number", placeholder: "by bitrate" },
    { field: "max_fps", label: "Frames per second, at most", kind: "number", placeholder: "60" },
    { field: "hdr", label: "HDR", kind: "choice", standard: "auto", choices: [["", "kept where the codec can"], ["sdr", "to SDR"], ["keep", "kept, or refused"]] },
    { field: "deinterlace", label: "Interlaced pictures", kind: "choice", standard: "auto", choices: [["", "a frame of two fields"], ["field", "a frame of each field"], ["off", "left as they are"]] },
    { field: "more_codecs", label: "Further codecs", kind: "words", stream: true, placeholder: "none", help: "Such as av1: the stream has renditions of each." },
    { field: "encoder", label: "Encoder of ffmpeg", kind: "text", placeholder: "in software", help: "Such as h264_v4l2m2m: only on workers that have it." },
    { field: "two_pass", label: "Encode in two passes", kind: "check" },
    { field: "constant_bitrate", label: "Keep the bitrate all the time", kind: "check" },
    { field: "stretch", label: "Stretch to a rendition of another shape", kind: "check" },
  ] },
  { title: "Sound and subtitles", options: [
    { field: "audio_codec", label: "Sound", kind: "choice", standard: "aac", choices: [["", "AAC"], ["mp3", "MP3"], ["ac3", "AC-3"], ["eac3", "E-AC-3"], ["opus", "Opus"], ["libfdk_aac", "AAC by libfdk"], ["none", "none"]] },
    { field: "audio_bps", label: "Its bitrate, in kb/s", kind: "kilobits", placeholder: "48 for each channel" },
    { field: "audio_langs", label: "Languages of the sound", kind: "words", placeholder: "all", help: "Such as de en: only these, the default one first." },
    { field: "audio_tracks", label: "Or its tracks, by number", kind: "numbers", placeholder: "all", help: "Such as 2 1, the default one first." },
    { field: "omit_subtitles", label: "Subtitles left out, by number", kind: "numbers", placeholder: "none" },
    { field: "burn_subtitles", label: "Subtitles drawn into the picture", kind: "text", placeholder: "none", help: "Their language, such as de; und if it is unknown." },
  ] },
  { title: "Stream", options: [
    { field: "segment_seconds", label: "Length of a segment, in s", kind: "number", stream: true, standard: "4", placeholder: "4" },
    { field: "playlist_name", label: "Name of the master playlist", kind: "text", stream: true, placeholder: "master" },
    { field: "segment_name", label: "Names of segments begin with", kind: "text", stream: true, placeholder: "nothing" },
    { field: "segment_dir", label: "Renditions are below", kind: "text", stream: true, placeholder: "the stream's directory" },
    { field: "url_prefix", label: "Paths in playlists begin with", kind: "text", stream: true, placeholder: "https://cdn.example/films/" },
    { field: "progressive", label: "Can be played while it is made", kind: "check", stream: true },
    { field: "no_pictures", label: "Poster and storyboard", kind: "uncheck", stream: true },
  ] },
  { title: "Encryption", options: [
    { field: "encrypted", label: "Encrypt (AES-128)", kind: "check", stream: true },
    { field: "sample_aes", label: "Encrypt samples alone (SAMPLE-AES)", kind: "check", stream: true },
    { field: "key_uri", label: "Players fetch the key from", kind: "text", stream: true, placeholder: "the stream" },
    { field: "key_name", label: "Name of the key's file", kind: "text", stream: true, placeholder: "stream.key" },
    { field: "key_every", label: "Segments that share a key", kind: "number", stream: true, placeholder: "all" },
  ] },
  { title: "Where", options: [
    { field: "dir", label: "Directory of the media share", kind: "text", placeholder: "hls, mp4 or mkv" },
    { field: "labels", label: "Only on workers with these labels", kind: "words", placeholder: "any" },
    { field: "mux_id", label: "Only on the worker with the muxer id", kind: "number", placeholder: "any" },
  ] },
  { title: "For ffmpeg", options: [
    { field: "input_options", label: "Options for reading", kind: "arguments", placeholder: "-ss 60 -t 90" },
    { field: "options", label: "Options for writing", kind: "arguments", placeholder: "-tune animation" },
  ] },
];

const all = [...basic, ...groups.flatMap((group) => group.options)];

// What a live stream can be asked for of it: its parts are made at once, by one encoder each.
const live = ["codec", "ladder", "rungs", "crf", "max_fps", "hdr", "deinterlace", "encoder", "constant_bitrate", "stretch"];
export const liveOptions = all.filter((option) => live.includes(option.field));

// argumentsOf splits a text as a shell does, as far as quotes.
const argumentsOf = (text: string): string[] => (text.match(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g) ?? []).map((word) => word.replace(/"([^"]*)"|'([^']*)'/g, "$1$2"));
const quoted = (word: string): string => (/[\s"']/.test(word) ? `'${word.replaceAll("'", `'"'"'`)}'` : word);

// rungOf reads a rendition as the command line has it: 720:2500k, 600x400:128k, source:2M.
function rungOf(word: string): Rung {
  const [size = "", rate = ""] = word.split(":");
  const [width, height] = size.split("x").map(Number);
  const shape: Rung = size === "source" ? { lines: 0 } : size.includes("x") ? { lines: 0, width: width || 0, height: height || 0 } : { lines: parseInt(size) || 0 };
  const number = parseFloat(rate) * (/m$/i.test(rate) ? 1e6 : /k$/i.test(rate) ? 1e3 : 1);
  return number > 0 ? { ...shape, bitrate_bps: Math.round(number) } : shape;
}

const rungText = (rung: Rung): string =>
  (rung.lines || (rung.width ? `${rung.width}x${rung.height ?? ""}` : "source")) + (rung.bitrate_bps ? ":" + rung.bitrate_bps / 1000 + "k" : "");

// wanted returns what the request has of an option; undefined: nothing.
function wanted({ kind }: Option, text: string): unknown {
  const list = <T>(made: T[]) => (made.length > 0 ? made : undefined);
  switch (kind) {
    case "number": return Number(text) || undefined;
    case "kilobits": return Math.round(Number(text) * 1000) || undefined;
    case "numbers": return list(words(text).map(Number));
    case "words": return list(words(text));
    case "rungs": return list(words(text).map(rungOf));
    case "arguments": return list(argumentsOf(text));
    case "check": case "uncheck": return text !== "" || undefined;
    case "text": case "choice": return text.trim() || undefined;
  }
}

function typed({ kind, standard }: Option, value: unknown): string {
  if (value === undefined || value === null || value === false || value === 0 || String(value) === standard) return "";
  switch (kind) {
    case "kilobits": return String(Number(value) / 1000);
    case "numbers": case "words": return (value as string[]).join(" ");
    case "rungs": return (value as Rung[]).map(rungText).join(" ");
    case "arguments": return (value as string[]).map(quoted).join(" ");
    case "check": case "uncheck": return "yes";
    case "number": case "text": case "choice": return String(value);
  }
}

export const isStream = (options: Options): boolean => !options["format"];

// requestOf leaves out what pibootd decides by itself.
export function requestOf(options: Options): Omit<JobRequest, "source"> {
  const request: Omit<JobRequest, "source"> = {};
  for (const option of all) {
    const value = option.stream && !isStream(options) ? undefined : wanted(option, options[option.field] ?? "");
    if (value !== undefined) request[option.field] = value;
  }
  if (request["rungs"]) delete request["ladder"];
  if (request["sample_aes"]) request["encrypted"] = true;
  return request;
}

// optionsOf fills the form in with what a job asked for.
export const optionsOf = (request: JobRequest): Options => Object.fromEntries(all.map((option) => [option.field, typed(option, request[option.field])]));
