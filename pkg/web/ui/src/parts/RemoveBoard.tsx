import { useState } from "preact/hooks";
import { attempt, messageOf, tell } from "../model/act";
import { send } from "../model/api";
import type { View } from "../model/board";
import { go } from "../model/router";
import { Button } from "./Button";
import { Dialog } from "./Dialog";
import { CheckField, TextField } from "./Field";

// RemoveBoard removes a board or another machine. Only a root that is not kept cannot
// come back, so that only this needs the name typed.
export function RemoveBoard({ view, onClose }: { view: View; onClose: () => void }) {
  const [keep, setKeep] = useState(true);
  const [typed, setTyped] = useState("");
  const [problem, setProblem] = useState("");
  const isBoard = view.board !== undefined;
  const sure = !isBoard || keep || typed === view.name;
  const remove = async () => {
    try {
      await attempt(() => send("DELETE", isBoard ? `pis/${view.key}?keep_root=${keep}` : "workers/" + encodeURIComponent(view.key)));
      tell(`${view.name} is removed.`);
      go("/boards");
    } catch (error) {
      setProblem(messageOf(error));
    }
  };
  return (
    <Dialog title={`Remove ${view.name}?`} onClose={onClose}>
      {isBoard
        ? <p>{keep ? "It can no longer boot from here; if it runs, it loses its root at once. The root is kept, and can be given back to it." : "It can no longer boot from here, and everything that was changed on it is lost for good."}</p>
        : <p>Its token becomes invalid, so that its worker can no longer connect. Nothing else is lost.</p>}
      {isBoard && <CheckField label="Keep its root" checked={keep} onChange={setKeep} />}
      {isBoard && !keep && <TextField label={`Type ${view.name} to confirm`} value={typed} onChange={setTyped} />}
      {problem && <p class="problem" role="alert">{problem}</p>}
      <footer><Button onPress={onClose}>Keep it</Button><Button look="danger" disabled={!sure} onPress={remove}>Remove</Button></footer>
    </Dialog>
  );
}
