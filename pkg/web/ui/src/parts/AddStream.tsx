import { useEffect, useState } from "preact/hooks";
import { attempt, messageOf, tell } from "../model/act";
import { get, Problem, send } from "../model/api";
import { words } from "../model/format";
import { state } from "../model/live";
import { liveOptions, requestOf, type Options } from "../model/options";
import type { LiveStream, StreamKey } from "../model/types";
import { Button } from "./Button";
import { CopyLine } from "./Copy";
import { Dialog } from "./Dialog";
import { Loading } from "./Empty";
import { CheckField, TextField } from "./Field";
import { MoreOptions } from "./OptionsForm";

const hours = /^(\d+(?:\.\d+)?)\s*(s|min|h)?$/;
const seconds = { s: 1, min: 60, h: 3600 };

// lengthOf reads a time such as 30 s, 10 min or 2 h; undefined is none.
function lengthOf(text: string): number | undefined {
  const [, number = "", unit = "min"] = hours.exec(text.trim()) ?? [];
  return number === "" ? undefined : Math.round(Number(number) * seconds[unit as keyof typeof seconds]);
}

const ofField: Record<string, string> = { listen: "source", dvr_seconds: "dvr", part_seconds: "part" };

// AddStream starts a live stream of a source, or one that waits for an encoder.
export function AddStream({ onClose }: { onClose: () => void }) {
  const listens = Boolean(state.value?.system?.rtmp_port);
  const [form, setForm] = useState({ name: "", listen: listens, source: "", dvr: "", part: "", labels: "", keep: false });
  const [options, setOptions] = useState<Options>({});
  const [wrong, setWrong] = useState<{ text: string; field?: string | undefined }>({ text: "" });
  const [added, setAdded] = useState("");
  const set = (to: Partial<typeof form>) => setForm({ ...form, ...to });
  const start = async () => {
    setWrong({ text: "" });
    const dvr = form.dvr.trim() ? lengthOf(form.dvr) : 0;
    if (dvr === undefined) return setWrong({ text: "Want a time such as 30 s, 10 min or 2 h.", field: "dvr" });
    const live = { listen: form.listen, keep: form.keep, ...(dvr ? { dvr_seconds: dvr } : {}), ...(form.part.trim() ? { part_seconds: Number(form.part) } : {}) };
    try {
      const stream = await attempt(() => send<LiveStream>("POST", "streams", { ...requestOf(options), name: form.name.trim(), source: form.listen ? "" : form.source.trim(), labels: words(form.labels), live }));
      if (form.listen) return setAdded(stream.name);
      tell(`${stream.name} starts.`);
      onClose();
    } catch (error) {
      const field = error instanceof Problem ? error.field : undefined;
      setWrong({ text: messageOf(error), field: field && (ofField[field] ?? field) });
    }
  };
  const problemOf = (field: string) => (wrong.field === field ? wrong.text : undefined);
  if (added) return <KeyDialog name={added} onClose={onClose} />;
  return (
    <Dialog title="Start a live stream" onClose={onClose}>
      <form class="stack" onSubmit={(event) => { event.preventDefault(); void start(); }}>
        <TextField label="Name" value={form.name} onChange={(name) => set({ name })} problem={problemOf("name")} required focus help="Players open /live/NAME/master.m3u8." />
        <fieldset class="choices">
          <legend class="sr">Where it comes from</legend>
          <label class={"choice" + (form.listen ? " chosen" : "")}><input type="radio" name="from" checked={form.listen} disabled={!listens} onChange={() => set({ listen: true })} /><span><b>An encoder such as OBS</b><span class="muted">{listens ? "It sends the stream to pibootd, with a stream key." : "Needs live.rtmp_port in the configuration."}</span></span></label>
          <label class={"choice" + (form.listen ? "" : " chosen")}><input type="radio" name="from" checked={!form.listen} onChange={() => set({ listen: false })} /><span><b>A source</b><span class="muted">pibootd connects to a camera or a server, or reads a file or a named pipe of the media share.</span></span></label>
        </fieldset>
        {!form.listen && <TextField label="Source" value={form.source} onChange={(source) => set({ source })} problem={problemOf("source")} required placeholder="rtsp://192.168.1.20/stream1" help="A URL (rtmp, rtsp, srt, http) at an address that live.allow of the configuration has, or a path in the media share." />}
        <div class="pair">
          <TextField label="Players can go back" value={form.dvr} onChange={(dvr) => set({ dvr })} problem={problemOf("dvr")} placeholder="30 s" help="30 s to 12 h." />
          <TextField label="Seconds in a part" type="number" value={form.part} onChange={(part) => set({ part })} problem={problemOf("part")} placeholder="1" help="0.5 to 4: less latency costs more bits." />
        </div>
        <TextField label="Only workers with the labels" value={form.labels} onChange={(labels) => set({ labels })} problem={problemOf("labels")} placeholder="any worker" />
        <MoreOptions title="Renditions and codec" list={liveOptions} options={options} onChange={setOptions} problem={wrong} />
        <CheckField label="Keep it as a video" checked={form.keep} onChange={(keep) => set({ keep })} help="The whole stream is published when it has ended, and needs room on the disk until then." />
        {wrong.text && !["name", "dvr", "part", "labels", ...(form.listen ? [] : ["source"]), ...liveOptions.map((option) => option.field)].includes(wrong.field ?? "") && <p class="problem" role="alert">{wrong.text}</p>}
        <footer><Button onPress={onClose}>Cancel</Button><Button look="primary" submit>Start</Button></footer>
      </form>
    </Dialog>
  );
}

// KeyDialog shows what an encoder has to be configured with.
export function KeyDialog({ name, onClose }: { name: string; onClose: () => void }) {
  const [key, setKey] = useState<StreamKey | undefined>(undefined);
  const [problem, setProblem] = useState("");
  const target = "streams/" + encodeURIComponent(name) + "/key";
  const load = (ask: () => Promise<StreamKey>) => attempt(ask).then(setKey, (error: unknown) => setProblem(messageOf(error)));
  useEffect(() => { void load(() => get<StreamKey>(target)); }, [target]);
  return (
    <Dialog title={`Send ${name}`} onClose={onClose}>
      <div class="stack">
        <p>In OBS: Settings, Stream, service Custom. Whoever has the key can send the stream.</p>
        {problem && <p class="problem" role="alert">{problem}</p>}
        {!key && !problem && <Loading rows={2} />}
        {key && <><p class="muted">Server</p><CopyLine label="Server" text={key.rtmp ?? ""} /><p class="muted">Stream key</p><CopyLine label="Stream key" text={key.key} /></>}
        <footer><Button onPress={() => load(() => send<StreamKey>("POST", target))}>Make another key</Button><Button look="primary" onPress={onClose}>Close</Button></footer>
      </div>
    </Dialog>
  );
}
