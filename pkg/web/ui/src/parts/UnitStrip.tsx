import { unitsOf } from "../model/job";
import { percent } from "../model/format";
import type { Job, Unit } from "../model/types";

const colours = 8;

// colourOf gives each worker of a job one of eight colours that colour-blind people
// tell apart, the same one while the job runs.
export function coloursOf(units: Unit[]): Map<string, number> {
  const workers = [...new Set(units.flatMap((unit) => [unit.worker ?? "", unit.second_worker ?? ""]))].filter(Boolean).sort();
  return new Map(workers.map((worker, i) => [worker, i % colours]));
}

const kinds: Record<string, string> = { video: "picture", audio: "sound", text: "subtitles", cover: "poster", join: "joining", whole: "the whole", probe: "a look at it" };
export const kindName = (kind: string): string => kinds[kind] ?? kind;

function cellClass(unit: Unit, colour: Map<string, number>): string {
  const by = colour.get(unit.worker ?? "");
  return ["cell", unit.state, by !== undefined && (unit.state === "running" || unit.state === "done") ? "by" + by : ""].join(" ");
}

interface Properties {
  job: Job;
  nameOf: (worker: string) => string;
  chosen?: string;
  onChoose?: (unit: string) => void;
}

// A UnitStrip is the film from left to right. A part is hatched while its worker
// encodes it, and solid once its result is proved.
export function UnitStrip({ job, nameOf, chosen, onChoose }: Properties) {
  const units = unitsOf(job);
  if (units.length === 0) return null;
  const colour = coloursOf(units);
  const film = units.filter((unit) => unit.kind === "video" || unit.kind === "whole" || unit.kind === "probe" && units.length === 1);
  const rest = units.filter((unit) => !film.includes(unit) && unit.kind !== "probe");
  const done = units.filter((unit) => unit.state === "done").length;
  const busy = [...new Set(units.filter((unit) => unit.state === "running").map((unit) => nameOf(unit.worker ?? "")))];
  const label = `${done} of ${units.length} parts done` + (busy.length ? `, ${busy.slice(0, 6).join(", ")}${busy.length > 6 ? ` and ${busy.length - 6} more` : ""} at work` : "");
  const cell = (unit: Unit) => {
    const name = nameOf(unit.worker ?? "");
    const title = `${unit.id}: ${unit.state}${name ? ", " + name : ""}${unit.state === "running" ? `, ${percent(unit.frames, unit.total_frames)} %` : ""}`;
    return (
      <span key={unit.id} class={cellClass(unit, colour) + (chosen === unit.id ? " chosen" : "")} title={title} style={{ flexGrow: Math.max(1, unit.total_frames || 1) }}
        onClick={onChoose && (() => onChoose(unit.id))}>
        {unit.state === "running" && <span class="fill" style={{ width: percent(unit.frames, unit.total_frames) + "%" }} />}
        {unit.state === "failed" ? <span class="initial">✕</span> : film.length <= 32 && name ? <span class="initial">{initial(name)}</span> : null}
      </span>
    );
  };
  return (
    <div class={"strip" + (film.length > 120 ? " fine" : "")} role="img" aria-label={label}>
      <div class="film">{film.map(cell)}</div>
      {rest.length > 0 && <div class="rest">{rest.map(cell)}</div>}
    </div>
  );
}

// initial is the number of a board's name, or its first letter.
function initial(name: string): string {
  return /(\d{1,2})$/.exec(name)?.[1] ?? name.slice(0, 1);
}
