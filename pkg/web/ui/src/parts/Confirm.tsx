import { useState } from "preact/hooks";
import { attempt, messageOf, tell } from "../model/act";
import { Button } from "./Button";
import { Dialog } from "./Dialog";
import { TextField } from "./Field";

interface Properties {
  title: string;
  lost: string; // what will be lost, in one sentence
  word: string; // of the button
  typed?: string; // what has to be typed where something cannot come back
  run: () => Promise<unknown>;
  done?: string;
  onClose: () => void;
}

// Confirm asks before something is lost.
export function Confirm({ title, lost, word, typed, run, done, onClose }: Properties) {
  const [text, setText] = useState("");
  const [problem, setProblem] = useState("");
  const confirm = async () => {
    try {
      await attempt(run);
      if (done) tell(done);
      onClose();
    } catch (error) {
      setProblem(messageOf(error));
    }
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <p>{lost}</p>
      {typed && <TextField label={`Type ${typed} to confirm`} value={text} onChange={setText} />}
      {problem && <p class="problem" role="alert">{problem}</p>}
      <footer>
        <Button onPress={onClose}>Keep it</Button>
        <Button look="danger" disabled={typed !== undefined && text !== typed} onPress={confirm}>{word}</Button>
      </footer>
    </Dialog>
  );
}
