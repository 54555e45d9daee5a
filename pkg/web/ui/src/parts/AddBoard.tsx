import { useState } from "preact/hooks";
import { attempt, messageOf, tell } from "../model/act";
import { Problem, steps, type Step } from "../model/api";
import { bytes, percent, words } from "../model/format";
import { state } from "../model/live";
import type { Board, Discovered } from "../model/types";
import { Bar } from "./Bar";
import { Button } from "./Button";
import { Dialog } from "./Dialog";
import { ChoiceField, TextField } from "./Field";

interface Added { pi: Board; existed: boolean }

// freeName continues the names that there are: after hlspi3 comes hlspi4.
export function freeName(taken: string[]): string {
  const numbered = taken.map((name) => /^(.*?)(\d+)$/.exec(name)).filter((found) => found !== null);
  const prefix = numbered.at(-1)?.[1] ?? "hlspi";
  for (let i = 1; ; i++) if (!taken.includes(prefix + i)) return prefix + i;
}

// AddBoard registers a board: pibootd clones a root for it, and it boots.
export function AddBoard({ found, onClose }: { found?: Discovered; onClose: () => void }) {
  const boards = Object.values(state.value?.boards ?? {}), templates = Object.keys(state.value?.templates ?? {});
  const [mac, setMac] = useState(found?.mac ?? "");
  const [serial, setSerial] = useState(found?.serial ?? "");
  const [name, setName] = useState(freeName(boards.map((board) => board.name).sort()));
  const [template, setTemplate] = useState(templates.at(-1) ?? "");
  const [muxID, setMuxID] = useState("");
  const [labels, setLabels] = useState("");
  const [step, setStep] = useState<Step<Added> | undefined>(undefined);
  const [wrong, setWrong] = useState<{ text: string; field?: string | undefined }>({ text: "" });
  const add = async () => {
    setWrong({ text: "" });
    const settings = { ...(muxID ? { mux_id: Number(muxID) } : {}), ...(labels ? { labels: words(labels) } : {}) };
    try {
      const { problem } = await attempt(() => steps<Added>("POST", "pis", { mac, serial, name, template, settings }, setStep));
      tell(problem ?? `${name} is added. Switch it on, or wait: it asks again by itself.`, problem !== undefined);
      onClose();
    } catch (error) {
      setStep(undefined);
      setWrong({ text: messageOf(error), field: error instanceof Problem ? error.field : undefined });
    }
  };
  const problemOf = (field: string) => (wrong.field === field ? wrong.text : undefined);
  if (templates.length === 0) {
    return (
      <Dialog title="Add a board" onClose={onClose}>
        <p>A board boots a clone of a template, and there is none yet. <a href="/templates#make">Make a template</a> first.</p>
      </Dialog>
    );
  }
  return (
    <Dialog title={found ? "Add " + (found.model || "the board") : "Add a board"} onClose={onClose}>
      <form class="stack" onSubmit={(event) => { event.preventDefault(); void add(); }}>
        <TextField label="Name" value={name} onChange={setName} problem={problemOf("name")} required focus help="Its host name." />
        {!found && <TextField label="Ethernet address" value={mac} onChange={setMac} problem={problemOf("mac")} required placeholder="dc:a6:32:01:02:03" />}
        {!found?.serial && <TextField label="Serial number" value={serial} onChange={setSerial} problem={problemOf("serial")} required help="The last 8 digits of Serial in the board's /proc/cpuinfo." placeholder="3333347a" />}
        <ChoiceField label="Template" value={template} onChange={setTemplate} problem={problemOf("template")} options={templates.map((one) => [one, one])} />
        <div class="pair">
          <TextField label="Muxer id" value={muxID} onChange={setMuxID} type="number" problem={problemOf("mux_id")} placeholder="none" />
          <TextField label="Labels" value={labels} onChange={setLabels} problem={problemOf("labels")} placeholder="row1 fast" />
        </div>
        {wrong.text && !["name", "mac", "serial", "template", "mux_id", "labels"].includes(wrong.field ?? "") && <p class="problem" role="alert">{wrong.text}</p>}
        {step?.step && <div role="status"><p class="muted">{step.step}{step.total ? `, ${bytes(step.done ?? 0)} of ${bytes(step.total)}` : ""}</p><Bar value={percent(step.done ?? 0, step.total ?? 0)} label={step.step} /></div>}
        <footer>
          <Button onPress={onClose}>Cancel</Button>
          <Button look="primary" submit disabled={step !== undefined}>Add</Button>
        </footer>
      </form>
    </Dialog>
  );
}
