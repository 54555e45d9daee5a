// Numbers and times as people read them: with units, at most three digits that matter.

const thin = "\u202f";

export function digits(value: number): string {
  if (value >= 100) return String(Math.round(value));
  if (value >= 10) return String(Math.round(value * 10) / 10);
  return String(Math.round(value * 100) / 100);
}

export function bytes(value: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return (value >= 100 || unit === 0 ? Math.round(value) : digits(Math.round(value * 10) / 10)) + thin + (units[unit] ?? "");
}

export function bitrate(bps: number): string {
  return bps >= 1e6 ? digits(Math.round(bps / 1e5) / 10) + thin + "Mb/s" : Math.round(bps / 1000) + thin + "kb/s";
}

export function fps(value: number): string {
  return (value >= 10 ? Math.round(value) : Math.round(value * 10) / 10) + thin + "fps";
}

export function grouped(n: number): string {
  return n.toLocaleString("en").replaceAll(",", thin);
}

export function count(n: number, one: string, many = one + "s"): string {
  return grouped(n) + " " + (n === 1 ? one : many);
}

export function percent(part: number, whole: number): number {
  return whole > 0 ? Math.min(100, Math.floor((part * 100) / whole)) : 0;
}

// span is a length of time in words.
export function span(seconds: number): string {
  if (seconds < 1) return "under 1" + thin + "s";
  if (seconds < 60) return Math.round(seconds) + thin + "s";
  if (seconds < 3600) return Math.round(seconds / 60) + thin + "min";
  const hours = Math.floor(seconds / 3600), minutes = Math.round((seconds % 3600) / 60);
  if (hours < 24) return hours + thin + "h" + (minutes ? " " + minutes + thin + "min" : "");
  return Math.round(hours / 24) + thin + (Math.round(hours / 24) === 1 ? "day" : "days");
}

// runtime is the length of a video, such as 1:23:45.
export function runtime(seconds: number): string {
  const whole = Math.round(seconds), pad = (n: number) => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600), minutes = Math.floor((whole % 3600) / 60);
  return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
}

export function clock(at: Date): string {
  return at.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
}

export function exact(at: Date): string {
  return at.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}

// when is relative within an hour, and the clock after.
export function when(at: Date, now: Date): string {
  const seconds = Math.max(0, (now.getTime() - at.getTime()) / 1000);
  if (seconds < 3600) return span(seconds) + " ago";
  if (at.toDateString() === now.toDateString()) return clock(at);
  const day = at.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  return at.getFullYear() === now.getFullYear() ? `${day}, ${clock(at)}` : `${day} ${at.getFullYear()}`;
}

// words are what stands between spaces or commas.
export const words = (text: string): string[] => text.split(/[\s,]+/).filter(Boolean);

// sentence begins a text that pibootd has for the command line with a capital, and ends it.
export function sentence(text: string): string {
  const whole = /^[a-z]+\b(?![.@/-])/.test(text) && !/^(pibootd|ffmpeg|ffprobe)\b/.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text;
  return /[.!?:]$/.test(whole) ? whole : whole + ".";
}
