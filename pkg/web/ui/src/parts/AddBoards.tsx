import { useState } from "preact/hooks";
import { attempt, messageOf, tell } from "../model/act";
import { steps, type Step } from "../model/api";
import { byName } from "../model/board";
import { count, percent, words } from "../model/format";
import { state } from "../model/live";
import type { Board, Discovered } from "../model/types";
import { freeName } from "./AddBoard";
import { Bar } from "./Bar";
import { Button } from "./Button";
import { Dialog } from "./Dialog";
import { ChoiceField, TextField } from "./Field";

interface Added { pi: Board }

// namesFor are free names for this many boards, from one on: hlspi4, hlspi5 and so on.
export function namesFor(first: string, many: number, taken: string[]): string[] {
  const [, prefix = first, digits = "1"] = /^(.*?)(\d+)$/.exec(first) ?? [];
  const names: string[] = [];
  for (let n = Number(digits); names.length < many; n++) if (!taken.includes(prefix + n)) names.push(prefix + n);
  return names;
}

// AddBoards registers several boards, one after the other, with names that continue each other.
export function AddBoards({ found, onClose }: { found: Discovered[]; onClose: () => void }) {
  const taken = Object.values(state.value?.boards ?? {}).map((board) => board.name).sort(), templates = Object.keys(state.value?.templates ?? {});
  const [candidates] = useState([...found].sort((a, b) => byName({ name: a.serial ?? a.mac }, { name: b.serial ?? b.mac })));
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set(candidates.map((one) => one.mac)));
  const [first, setFirst] = useState(freeName(taken));
  const [template, setTemplate] = useState(templates.at(-1) ?? "");
  const [labels, setLabels] = useState("");
  const [at, setAt] = useState<{ name: string; step?: Step<Added> } | undefined>(undefined);
  const [problem, setProblem] = useState("");
  const wanted = candidates.filter((one) => chosen.has(one.mac)), names = namesFor(first.trim(), wanted.length, taken);
  const nameOf = (one: Discovered) => names[wanted.indexOf(one)];
  const choose = (mac: string, on: boolean) => { const next = new Set(chosen); if (on) next.add(mac); else next.delete(mac); setChosen(next); };
  const add = async () => {
    setProblem("");
    for (const [i, { mac, serial }] of wanted.entries()) {
      const name = names[i] ?? "";
      setAt({ name });
      try {
        const { problem: wrong } = await attempt(() => steps<Added>("POST", "pis", { mac, serial, name, template, settings: labels ? { labels: words(labels) } : {} }, (step) => setAt({ name, step })));
        if (wrong) tell(wrong, true);
      } catch (error) {
        setProblem(`${name}: ${messageOf(error)}${i > 0 ? ` ${names.slice(0, i).join(", ")} ${i > 1 ? "are" : "is"} added.` : ""}`);
        setChosen(new Set(wanted.slice(i).map((one) => one.mac)));
        setFirst(name);
        setAt(undefined);
        return;
      }
    }
    tell(`${count(wanted.length, "board is", "boards are")} added. Switch them on, or wait: they ask again by themselves.`);
    onClose();
  };
  return (
    <Dialog title="Add new boards" onClose={onClose}>
      <form class="stack" onSubmit={(event) => { event.preventDefault(); void add(); }}>
        <TextField label="First name" value={first} onChange={setFirst} required focus help="The others continue it." />
        <div class="pair">
          <ChoiceField label="Template" value={template} onChange={setTemplate} options={templates.map((one) => [one, one])} />
          <TextField label="Labels" value={labels} onChange={setLabels} placeholder="row1 fast" />
        </div>
        <ul class="rows plain several">
          {candidates.map((one) => (
            <li key={one.mac}><label class="line"><input type="checkbox" checked={chosen.has(one.mac)} onChange={(event) => choose(one.mac, event.currentTarget.checked)} /><b class="clip">{nameOf(one) ?? <span class="muted">left out</span>}</b><span class="grow muted num clip">{[one.model, one.serial, one.mac].filter(Boolean).join(", ")}</span></label></li>
          ))}
        </ul>
        {problem && <p class="problem" role="alert">{problem}</p>}
        {at && <div role="status"><p class="muted">{at.name}{at.step?.step && ": " + at.step.step}</p><Bar value={percent(names.indexOf(at.name), wanted.length)} label={"Adding " + at.name} /></div>}
        <footer><Button onPress={onClose}>Cancel</Button><Button look="primary" submit disabled={at !== undefined || wanted.length === 0}>{`Add ${count(wanted.length, "board")}`}</Button></footer>
      </form>
    </Dialog>
  );
}

// AddSeveral is a button where several boards are new. A board that has not told its serial
// number is added by itself.
export function AddSeveral({ found }: { found: Discovered[] }) {
  const [open, setOpen] = useState(false);
  const complete = found.filter((one) => one.serial);
  if (complete.length < 2 || Object.keys(state.value?.templates ?? {}).length === 0) return null;
  return (
    <>
      <Button icon="plus" onPress={() => setOpen(true)}>{`Add ${complete.length} new`}</Button>
      {open && <AddBoards found={complete} onClose={() => setOpen(false)} />}
    </>
  );
}
