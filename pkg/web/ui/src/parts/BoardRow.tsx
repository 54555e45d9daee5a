import { modelOf, type View } from "../model/board";
import { digits, fps } from "../model/format";
import { state } from "../model/live";
import { titleOf } from "../model/job";
import { path } from "../model/router";
import type { Worker } from "../model/types";
import { BootBar, StageText } from "./BootBar";
import { Status } from "./Icon";
import { Labels } from "./Labels";
import { memo } from "./memo";

function Work({ worker }: { worker: Worker }) {
  const job = worker.job ? state.value?.jobs[String(worker.job)] : undefined;
  return (
    <span class="work">
      <span class="clip">{job ? <a href={path.job(job.id)}>{titleOf(job)}</a> : `job ${worker.job ?? ""}`}</span>
      <span class="muted unit">{worker.unit}</span>
      {worker.fps ? <span class="num fps">{fps(worker.fps)}</span> : null}
    </span>
  );
}

// What a board does, in one line: the stage of its boot, its work, or what is wrong.
export function Doing({ view }: { view: View }) {
  if (view.condition === "booting") {
    return <span class="doing"><BootBar view={view} /><span class="muted clip"><StageText view={view} /></span></span>;
  }
  if (view.condition === "working" && view.worker) return <Work worker={view.worker} />;
  return <span class="doing"><span class={"clip " + (view.condition === "stuck" ? "" : "muted")} title={view.sentence}>{view.sentence}</span></span>;
}

function madeOf(view: View): string {
  if (!view.board) return [view.worker?.hello.arch, "no board"].filter(Boolean).join(", ");
  return modelOf(view.board) || view.board.arch;
}

// How warm a machine is, and how much it has to do. Its diagnosis says when that slows it down.
function Health({ worker }: { worker: Worker | undefined }) {
  const { temperature, load } = (worker?.online && worker.hello.machine) || {};
  return <span class="muted num clip">{[temperature && `${Math.round(temperature)} °C`, load !== undefined && `load ${digits(load)}`].filter(Boolean).join(", ")}</span>;
}

// BoardRow is a board in a list; on a phone its second line is what it does.
export const BoardRow = memo(function BoardRow({ view }: { view: View }) {
  return (
    <li class={"row board is-" + view.condition}>
      <a class="name clip" href={path.board(view.name)}>{view.name}</a>
      <Status shape={view.condition} word={view.word} />
      <Doing view={view} />
      <span class="wide-only clip"><Health worker={view.worker} /></span>
      <span class="muted clip wide-only" title={view.board?.serial}>{madeOf(view)}{view.board && <small class="num block">{view.board.serial}</small>}</span>
      <span class="muted num clip wide-only">{view.board?.ip}</span>
      <span class="muted clip wide-only">{view.board && `${view.board.template}@${view.board.version}`}</span>
      <span class="wide-only"><Labels labels={view.labels} /></span>
    </li>
  );
});
