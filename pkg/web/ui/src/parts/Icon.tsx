import type { JSX } from "preact";
import type { Condition } from "../model/board";
import type { JobState } from "../model/types";

// The shapes of states differ, so that colour only helps.
const shapes: Record<Condition | JobState | "warning", JSX.Element> = {
  well: <circle cx="8" cy="8" r="5" fill="currentColor" />,
  working: <path d="M4.5 2.8v10.4L13 8z" fill="currentColor" stroke="currentColor" stroke-width="1.4" stroke-linejoin="round" />,
  resting: <path d="M5 3.5v9M11 3.5v9" stroke="currentColor" stroke-width="2.6" stroke-linecap="round" />,
  booting: <><circle cx="8" cy="8" r="5.5" fill="none" stroke="currentColor" stroke-width="1.8" /><path d="M8 8V2.5A5.5 5.5 0 0 1 13.5 8z" fill="currentColor" /></>,
  slow: <path d="M8 2.5 13.8 13H2.2z" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linejoin="round" />,
  stuck: <path d="M8 2.2 14.2 13.2H1.8z" fill="currentColor" stroke="currentColor" stroke-width="1.2" stroke-linejoin="round" />,
  warning: <path d="M8 2.5 13.8 13H2.2z" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linejoin="round" />,
  off: <circle cx="8" cy="8" r="4.6" fill="none" stroke="currentColor" stroke-width="1.8" />,
  new: <path d="M5.2 6a2.8 2.8 0 1 1 4.2 2.4C8.4 9 8 9.4 8 10.2M8 13v.1" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" />,
  queued: <path d="M3.5 8h.1M8 8h.1M12.5 8h.1" stroke="currentColor" stroke-width="3" stroke-linecap="round" />,
  running: <path d="M4.5 2.8v10.4L13 8z" fill="currentColor" stroke="currentColor" stroke-width="1.4" stroke-linejoin="round" />,
  publishing: <path d="M8 13V3.5M4 7.2 8 3.2l4 4" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" />,
  done: <path d="m3 8.5 3.4 3.4L13 4.8" fill="none" stroke="currentColor" stroke-width="2.2" stroke-linecap="round" stroke-linejoin="round" />,
  failed: <path d="m4 4 8 8M12 4l-8 8" stroke="currentColor" stroke-width="2.2" stroke-linecap="round" />,
  cancelled: <path d="M3.5 8h9" stroke="currentColor" stroke-width="2.2" stroke-linecap="round" />,
};

export type Shape = keyof typeof shapes;

// A Mark shows a state by its shape; the word is beside it or, without, its title.
export function Mark({ shape, title }: { shape: Shape; title?: string }) {
  return (
    <svg class={"mark " + shape} viewBox="0 0 16 16" role={title ? "img" : undefined} aria-label={title} aria-hidden={title ? undefined : "true"}>
      {title && <title>{title}</title>}
      {shapes[shape]}
    </svg>
  );
}

// A Status is a state with its word.
export function Status({ shape, word }: { shape: Shape; word: string }) {
  return <span class={"status is-" + shape}><Mark shape={shape} />{word}</span>;
}

const glyphs = {
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10zM11 11l3.5 3.5",
  plus: "M8 3v10M3 8h10",
  close: "m4 4 8 8M12 4l-8 8",
  copy: "M5.5 5.5V3h7.5v7.5h-2.500M3 5.500h7.500V13H3z",
  pause: "M5.500 3.500v9M10.500 3.500v9",
  play: "M5 3v10l8-5z",
  again: "M13 8a5 5 0 1 1-1.500-3.600M13 2v3h-3",
  trash: "M3 4.500h10M6.500 4.500V3h3v1.500M4.500 4.500l.5 8.500h6l.5-8.500",
  up: "M8 13V3M4 7l4-4 4 4",
  download: "M8 3v8M4.500 8 8 11.500 11.500 8M3 13.500h10",
  home: "M2.500 8 8 3l5.500 5M4.500 7v6h7V7",
  boards: "M3 3h10v4H3zM3 9h10v4H3zM5.500 5h.1M5.500 11h.1",
  jobs: "M3 4h10M3 8h7M3 12h4",
  media: "M2.500 3.500h11v9h-11zM7 6.200v3.600L10 8z",
  more: "M3.500 8h.1M8 8h.1M12.500 8h.1",
  user: "M8 8a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5zM3 13.500c.5-2.500 2.500-3.500 5-3.500s4.500 1 5 3.500",
  check: "m3 8.500 3.400 3.400L13 4.800",
  gear: "M8 10.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5zM8 1.800v2M8 12.200v2M1.800 8h2M12.200 8h2M3.600 3.600l1.400 1.400M11 11l1.400 1.400M3.600 12.400 5 11M11 5l1.400-1.400",
  arrow: "M6 3.500 10.500 8 6 12.500",
  down: "M3.500 6 8 10.500 12.500 6",
};

export type GlyphName = keyof typeof glyphs;

export function Glyph({ name }: { name: GlyphName }) {
  return (
    <svg class="glyph" viewBox="0 0 16 16" aria-hidden="true">
      <path d={glyphs[name]} fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round" />
    </svg>
  );
}
