import { useEffect, useState } from "preact/hooks";
import { attempt, messageOf, tell } from "../model/act";
import { get, send, steps, type Step } from "../model/api";
import { now } from "../model/clock";
import { count, when } from "../model/format";
import { state } from "../model/live";
import type { Board } from "../model/types";
import { Button } from "./Button";
import { Confirm } from "./Confirm";
import { Dialog } from "./Dialog";
import { CheckField, ChoiceField } from "./Field";
import { Ago } from "./Time";

interface Kept { name: string; at: string; template?: string; version?: number; why: string }
interface Change { file: string; what: string }

// RootCard is a board's root: what it was cloned from, what differs, and what can be
// put in its place.
export function RootCard({ board }: { board: Board }) {
  const [kept, setKept] = useState<Kept[]>([]);
  const [open, setOpen] = useState<"" | "reset" | "rollback" | "drift">("");
  const [drop, setDrop] = useState<Kept | undefined>(undefined);
  const read = () => { get<Kept[]>(`pis/${board.serial}/kept`).then(setKept, () => setKept([])); };
  useEffect(read, [board.id]);
  const newer = Object.values(state.value?.templates ?? {}).some((one) => one.name === board.template && one.version > board.version);
  return (
    <>
      <dl class="facts-list">
        <dt>Template</dt><dd>{board.template}@{board.version}{newer && <span class="is-slow"> a newer version is there</span>}</dd>
        <dt>For</dt><dd>{board.arch}</dd>
      </dl>
      <div class="actions">
        <Button icon="again" onPress={() => setOpen("reset")}>{newer ? "Reset or upgrade" : "Reset"}</Button>
        <Button disabled={kept.length === 0} onPress={() => setOpen("rollback")}>Roll back</Button>
        <Button onPress={() => setOpen("drift")}>What differs?</Button>
      </div>
      {kept.length > 0 && <h3>Kept roots</h3>}
      <ul class="rows plain">
        {kept.map((one) => <li key={one.name} class="line"><span class="grow clip">{one.template && `${one.template}@${one.version ?? ""}, `}{one.why}</span><span class="muted"><Ago at={one.at} /></span><Button icon="trash" label={"Delete the root of " + one.at} look="quiet" onPress={() => setDrop(one)} /></li>)}
      </ul>
      {(open === "reset" || open === "rollback") && <Replace board={board} kept={kept} rollback={open === "rollback"} onClose={() => { setOpen(""); read(); }} />}
      {open === "drift" && <Drift board={board} onClose={() => setOpen("")} />}
      {drop && <Confirm title="Delete a kept root?" lost="All that is in it is lost for good." word="Delete it" typed={board.name} done="Deleted." onClose={() => { setDrop(undefined); read(); }} run={() => send("DELETE", `pis/${board.serial}/kept/${encodeURIComponent(drop.name)}`)} />}
    </>
  );
}

// Replace gives a board another root. The present one is kept.
function Replace({ board, kept, rollback, onClose }: { board: Board; kept: Kept[]; rollback: boolean; onClose: () => void }) {
  const templates = Object.keys(state.value?.templates ?? {});
  const [template, setTemplate] = useState(templates.filter((one) => one.startsWith(board.template + "@")).at(-1) ?? templates[0] ?? "");
  const [chosen, setChosen] = useState(kept[0]?.name ?? "");
  const [force, setForce] = useState(false);
  const [step, setStep] = useState("");
  const [problem, setProblem] = useState("");
  const run = async () => {
    setProblem("");
    try {
      const { problem: flaw } = await attempt(() => steps<unknown>("POST", `pis/${board.serial}/root`, { ...(rollback ? { rollback: true, kept: chosen } : { template }), ...(force ? { force } : {}) }, (one: Step<unknown>) => setStep(one.step ?? "")));
      tell(flaw ?? `${board.name} has another root. It boots it the next time it starts.`, flaw !== undefined);
      onClose();
    } catch (error) {
      setStep("");
      setProblem(messageOf(error));
    }
  };
  return (
    <Dialog title={rollback ? `Roll ${board.name} back` : `Reset the root of ${board.name}`} onClose={onClose}>
      <p>{rollback ? "The kept root takes the place of the present one, which is kept in turn." : "A fresh clone takes the place of the present root. What was changed on the board is not in it, but the present root is kept, and can be rolled back to."}</p>
      {rollback
        ? <ChoiceField label="Root" value={chosen} onChange={setChosen} options={kept.map((one) => [one.name, `${one.template ?? "unknown"}@${one.version ?? "?"}, ${one.why}, ${when(new Date(one.at), now.value)}`])} />
        : <ChoiceField label="Template" value={template} onChange={setTemplate} options={templates.map((one) => [one, one])} />}
      {board.online && <CheckField label="The board runs, and loses its root at once. Do it all the same." checked={force} onChange={setForce} />}
      {step && <p class="muted" role="status">{step}</p>}
      {problem && <p class="problem" role="alert">{problem}</p>}
      <footer><Button onPress={onClose}>Cancel</Button><Button look="danger" disabled={step !== "" || (board.online && !force)} onPress={run}>{rollback ? "Roll back" : "Reset"}</Button></footer>
    </Dialog>
  );
}

const most = 500; // changes shown

// Drift lists what was changed in a root since it was cloned.
function Drift({ board, onClose }: { board: Board; onClose: () => void }) {
  const [changes, setChanges] = useState<Change[] | undefined>(undefined);
  const [said, setSaid] = useState("comparing");
  useEffect(() => {
    attempt(() => steps<Change[]>("GET", `pis/${board.serial}/drift`, undefined, (one) => setSaid(one.step ?? "comparing"))).then(({ result }) => setChanges(result ?? []), (error: unknown) => setSaid(messageOf(error)));
  }, []);
  return (
    <Dialog title={`What differs on ${board.name}`} onClose={onClose}>
      {!changes && <p class="muted" role="status">{said}</p>}
      {changes && <p>{changes.length ? count(changes.length, "difference") + ` from ${board.template}@${board.version}.` : `Nothing differs from ${board.template}@${board.version}.`}</p>}
      {changes && changes.length > 0 && <pre class="log-text" tabIndex={0} aria-label="Differences">{changes.slice(0, most).map((one) => one.file + "  " + one.what).join("\n")}</pre>}
      <footer><Button onPress={onClose}>Close</Button></footer>
    </Dialog>
  );
}
