import { useState } from "preact/hooks";
import { attempt, messageOf } from "../model/act";
import { Problem, send } from "../model/api";
import { words } from "../model/format";
import type { Board } from "../model/types";
import { Button } from "./Button";
import { Dialog } from "./Dialog";
import { CheckField, TextField } from "./Field";

interface Edited { changed: string[] }

const lines = (text: string): string[] => text.split("\n").map((line) => line.trim()).filter(Boolean);

// BoardSettingsForm changes what differs; the rest stays.
export function BoardSettingsForm({ board, onClose, onSaved }: { board: Board; onClose: () => void; onSaved: (changes: string) => void }) {
  const was = board.settings;
  const [form, setForm] = useState({
    name: board.name, ip: board.ip, mux_id: String(was.mux_id ?? ""), labels: (was.labels ?? []).join(" "), weight: was.weight ? String(Math.round(was.weight * 100)) : "",
    gpu_mem: String(was.gpu_mem ?? ""), args: (was.args ?? []).join(" "), config: (was.config ?? []).join("\n"), hw_decode: was.hw_decode ?? false, volatile: was.volatile ?? false,
    durable: was.durable === "relaxed",
  });
  const [start] = useState(form);
  const [wrong, setWrong] = useState<{ text: string; field?: string | undefined }>({ text: "" });
  const set = (to: Partial<typeof form>) => setForm({ ...form, ...to });
  const of: Record<string, unknown> = {
    name: form.name, ip: form.ip, mux_id: Number(form.mux_id), labels: words(form.labels), weight: Number(form.weight) / 100,
    gpu_mem: Number(form.gpu_mem), args: words(form.args), config: lines(form.config), hw_decode: form.hw_decode, volatile: form.volatile,
    durable: form.durable ? "relaxed" : "strict",
  };
  const save = async () => {
    const changed = Object.fromEntries((Object.keys(form) as (keyof typeof form)[]).filter((name) => form[name] !== start[name]).map((name) => [name, of[name]]));
    if (Object.keys(changed).length === 0) return onClose();
    try {
      const edited = await attempt(() => send<Edited>("PATCH", "pis/" + board.serial, changed));
      onSaved(edited.changed.length ? `Changed: ${edited.changed.join(", ")}. Some of it takes effect at the next boot.` : "It was so already.");
    } catch (error) {
      setWrong({ text: messageOf(error), field: error instanceof Problem ? error.field : undefined });
    }
  };
  const problemOf = (field: string) => (wrong.field === field ? wrong.text : undefined);
  return (
    <Dialog title={"Settings of " + board.name} onClose={onClose}>
      <form class="stack" onSubmit={(event) => { event.preventDefault(); void save(); }}>
        <div class="pair">
          <TextField label="Name" value={form.name} onChange={(name) => set({ name })} problem={problemOf("name")} required />
          <TextField label="Address" value={form.ip} onChange={(ip) => set({ ip })} problem={problemOf("ip")} required />
        </div>
        <div class="pair">
          <TextField label="Labels" value={form.labels} onChange={(labels) => set({ labels })} problem={problemOf("labels")} placeholder="none" />
          <TextField label="Muxer id" type="number" value={form.mux_id} onChange={(mux_id) => set({ mux_id })} problem={problemOf("mux_id")} placeholder="none" />
        </div>
        <div class="pair">
          <TextField label="Share of its time, in %" type="number" value={form.weight} onChange={(weight) => set({ weight })} problem={problemOf("weight")} placeholder="100" />
          <TextField label="Memory for graphics, in MB" type="number" value={form.gpu_mem} onChange={(gpu_mem) => set({ gpu_mem })} problem={problemOf("gpu_mem")} placeholder="as configured" />
        </div>
        <TextField label="Kernel arguments" value={form.args} onChange={(args) => set({ args })} problem={problemOf("args")} placeholder="none" />
        <CheckField label="Decode in hardware where the board can" checked={form.hw_decode} onChange={(hw_decode) => set({ hw_decode })} />
        <CheckField label="Volatile: its root is read-only, and changes are lost when it is switched off" checked={form.volatile} onChange={(volatile) => set({ volatile })} />
        <CheckField label="Relaxed: faster on slow disks, but a power cut of the NAS undoes its last second of changes of names and attributes" checked={form.durable} onChange={(durable) => set({ durable })} />
        {wrong.text && !(wrong.field !== undefined && wrong.field in form) && <p class="problem" role="alert">{wrong.text}</p>}
        <footer><Button onPress={onClose}>Cancel</Button><Button look="primary" submit>Save</Button></footer>
      </form>
    </Dialog>
  );
}
