import { stages, stageWords, type View } from "../model/board";
import { now } from "../model/clock";
import { span } from "../model/format";
import type { Stage, StageName } from "../model/types";

const usual = 5; // s, the width of a stage of which nothing is known

function share(stage: Stage | undefined): number {
  return Math.max(1, stage?.median || stage?.seconds || usual);
}

function ageOf(view: View, stage: Stage | undefined): number {
  const from = stage?.started ?? view.since;
  return from ? Math.max(0, (now.value.getTime() - new Date(from).getTime()) / 1000) : 0;
}

// A BootBar shows the seven stages of a boot, each as wide as it usually takes; the
// present one fills against its median.
export function BootBar({ view, wide = false }: { view: View; wide?: boolean }) {
  const known = new Map<StageName, Stage>((view.board?.diagnosis?.stages ?? []).map((stage) => [stage.stage, stage]));
  const at = view.stage ? stages.indexOf(view.stage) : -1;
  const deadline = view.board?.diagnosis?.deadline;
  const late = deadline !== undefined && now.value > new Date(deadline);
  const current = view.stage ? known.get(view.stage) : undefined;
  const age = ageOf(view, current);
  const words = view.stage ? `${view.stage}, stage ${at + 1} of ${stages.length}, for ${span(age)}${current?.median ? `, usually ${span(current.median)}` : ""}` : "not booting";
  return (
    <span class={"bootbar" + (wide ? " wide" : "") + (view.condition === "stuck" ? " halted" : late ? " late" : "")} role="img" aria-label={words} title={words}>
      {stages.map((name, i) => {
        const stage = known.get(name);
        const filled = i < at ? 100 : i > at ? 0 : Math.min(92, Math.max(12, (age / share(stage)) * 100));
        return (
          <span key={name} class={i < at ? "past" : i === at ? "at" : "ahead"} style={{ flexGrow: Math.sqrt(share(stage)) }}>
            <span class="track"><span style={{ width: filled + "%" }} /></span>
            {wide && <span class="stage">{name}{stage?.seconds && i < at ? <small class="num">{span(stage.seconds)}</small> : null}</span>}
          </span>
        );
      })}
    </span>
  );
}

// What a board does on its way, for how long, and how long that usually takes.
export function StageText({ view }: { view: View }) {
  if (!view.stage) return <>{view.sentence}</>;
  const stage = view.board?.diagnosis?.stages?.find((one) => one.stage === view.stage);
  return <>{stageWords[view.stage]}, <span class="num">{span(ageOf(view, stage))}</span>{stage?.median ? <>, usually <span class="num">{span(stage.median)}</span></> : null}</>;
}
