import type { ComponentChildren } from "preact";
import { isOpen, stepOf } from "../model/template";
import type { State } from "../model/types";
import { Glyph } from "./Icon";

interface StepProperties { done: boolean; here: boolean; number: number; title: string; children?: ComponentChildren }

function Step({ done, here, number, title, children }: StepProperties) {
  return (
    <li class={"step" + (done ? " done" : here ? " here" : "")} aria-current={here ? "step" : undefined}>
      <span class="dot" aria-hidden="true">{done ? <Glyph name="check" /> : number}</span>
      <div><p class="title">{title}{done && <span class="sr">, done</span>}</p>{here && <div class="muted">{children}</div>}</div>
    </li>
  );
}

// FirstRun leads from nothing to the first video, and is gone then.
export function FirstRun({ all }: { all: State }) {
  const boards = Object.values(all.boards), system = all.system;
  const done = [
    system !== undefined, Object.keys(all.templates).length > 0, boards.length > 0,
    boards.some((board) => board.online) || Object.values(all.machines).some((machine) => machine.online), Object.values(all.jobs).some((job) => job.state === "done") || Object.keys(all.media).length > 0,
  ];
  if (!system || done.every(Boolean)) return null;
  const here = done.indexOf(false);
  const found = Object.keys(all.discovered).length;
  const making = Object.values(all.operations).find(isOpen);
  const steps: [string, ComponentChildren][] = [
    [`pibootd serves ${system.interface}, ${system.network}`, ""],
    ["A template: the system that boards boot", making ? <p role="status">{making.name} is being made: {stepOf(making)}. <a href="/templates">Show</a></p> : <><p>Build a small one that is made for transcoding, in a minute or two, or bring your own image.</p><p><a class="button primary" href="/templates#make">Make a template</a></p></>],
    ["The first board", found ? <p>A board has asked for an address. It is listed below: press Add.</p> : <p>Connect a Raspberry Pi to this network, without an SD card, and switch it on. It appears below, with a button to add it.</p>],
    ["It boots, and its worker reports", <p>Switch the board on, or off and on again. Its stages show below while it boots.</p>],
    ["The first video", <p><a href="/submit">Hand a video in</a>: drop a file there, or choose one of the media share.</p>],
  ];
  return (
    <section class="card first" aria-labelledby="first-run">
      <header class="head"><h2 id="first-run">First steps</h2><span class="grow" /><span class="muted num">{done.filter(Boolean).length} of {done.length}</span></header>
      <ol class="steps">{steps.map(([title, text], i) => <Step key={title} done={done[i] ?? false} here={i === here} number={i + 1} title={title}>{text}</Step>)}</ol>
    </section>
  );
}
