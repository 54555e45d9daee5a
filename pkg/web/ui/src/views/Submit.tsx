import { useRef, useState } from "preact/hooks";
import { messageOf, tell } from "../model/act";
import { Problem } from "../model/api";
import { bytes } from "../model/format";
import { useJob } from "../model/job";
import { state } from "../model/live";
import { optionsOf, requestOf, type Options } from "../model/options";
import { go, path, query } from "../model/router";
import type { Job, JobRequest } from "../model/types";
import { begun, begunOf, forgetBegun, submit, upload, uploads } from "../model/upload";
import { Button } from "../parts/Button";
import { Loading } from "../parts/Empty";
import { Glyph } from "../parts/Icon";
import { LadderPreview } from "../parts/LadderPreview";
import { OptionsForm } from "../parts/OptionsForm";
import { SharePicker } from "../parts/SharePicker";
import { CheckField, TextField } from "../parts/Field";
import { Missing } from "./Missing";

// SubmitPage hands videos in: files of this machine, or one of the media share.
export function SubmitPage() {
  const id = query("again"), job = useJob(id);
  if (!id) return <SubmitForm again={undefined} />;
  if (job === undefined) return <Loading />;
  return job ? <SubmitForm key={id} again={job} /> : <Missing what="job" />;
}

function SubmitForm({ again }: { again: Job | undefined }) {
  const [files, setFiles] = useState<File[]>([]);
  const [source, setSource] = useState(again?.request.source ?? query("source"));
  const [options, setOptions] = useState<Options>(again ? optionsOf(again.request) : {});
  const [picking, setPicking] = useState(location.hash === "#share");
  const [force, setForce] = useState(again !== undefined);
  const [wrong, setWrong] = useState<{ text: string; field?: string | undefined }>({ text: "" });
  const start = async () => {
    setWrong({ text: "" });
    const wanted = requestOf(options);
    if (files.length > 0) {
      upload(files, { options: wanted });
      setFiles([]);
    }
    if (source.trim()) await handIn({ ...wanted, source: source.trim() });
  };
  const handIn = async (request: JobRequest) => {
    try {
      const { job, existed } = await submit(request, force);
      tell(existed ? `The same has been asked for before: that is job ${job.id}.` : `Handed in as job ${job.id}.`);
      go(path.job(job.id));
    } catch (error) {
      setWrong({ text: messageOf(error), field: error instanceof Problem ? error.field : undefined });
    }
  };
  const sending = uploads.value.some((one) => one.state === "sending" || one.state === "waiting");
  return (
    <section class="page">
      <header class="title"><h1>{again ? "Transcode again" : "Transcode a video"}</h1></header>
      <form class="submit" id="submit" onSubmit={(event) => { event.preventDefault(); void start(); }}>
        <div class="column">
          {!again && <DropZone files={files} onFiles={setFiles} />}
          <section class="card stack" aria-label="A video of the media share">
            <TextField label={again ? "Video" : "Or a video of the media share"} value={source} onChange={setSource} placeholder="videos/holiday.mp4" problem={wrong.field === "source" ? wrong.text : undefined} help={`Its path below ${state.value?.system?.media_dir ?? "the media share"}.`} />
            <p><Button icon="search" onPress={() => setPicking(true)}>Look in the share</Button></p>
          </section>
          {source.trim() !== "" && <LadderPreview request={{ ...requestOf(options), source: source.trim() }} options={options} onChange={setOptions} />}
        </div>
        <section class="card stack" aria-labelledby="options">
          <h2 id="options">What to make</h2>
          <OptionsForm options={options} onChange={setOptions} problem={wrong} />
          {!again && source.trim() !== "" && <CheckField label="Even if the same was made before" checked={force} onChange={setForce} />}
          {wrong.text && wrong.field !== "source" && <p class="problem" role="alert">{wrong.text}</p>}
          <footer>
            {sending && <span class="muted" role="status">An upload is under way, see below.</span>}
            <Button look="primary" submit disabled={files.length === 0 && source.trim() === ""}>{files.length > 1 ? `Upload and transcode ${files.length} videos` : files.length === 1 ? "Upload and transcode" : "Transcode"}</Button>
          </footer>
        </section>
      </form>
      {picking && <SharePicker onClose={() => setPicking(false)} onPick={(path) => { setSource(path); setPicking(false); }} />}
    </section>
  );
}

// Interrupted are uploads of before the page was loaded: a browser lets a page read a
// file only when it is chosen again.
function Interrupted({ files }: { files: File[] }) {
  const open = begun.value.filter((one) => one.options !== undefined && ![...files, ...uploads.value.map((upload) => upload.file)].some((file) => begunOf(file) === one));
  if (open.length === 0) return null;
  return (
    <div class="interrupted">
      <p class="muted">Interrupted. Choose these again, and they go on where they were:</p>
      <ul class="rows plain">
        {open.map((one) => <li key={one.address} class="line"><span class="grow clip">{one.name}</span><span class="muted num">{bytes(one.size)}</span><Button icon="close" label={"Forget " + one.name} look="quiet" onPress={() => forgetBegun(one)} /></li>)}
      </ul>
    </div>
  );
}

function DropZone({ files, onFiles }: { files: File[]; onFiles: (files: File[]) => void }) {
  const [over, setOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const add = (list: FileList | null | undefined) => {
    if (list) onFiles([...files, ...list].filter((file, i, all) => all.findIndex((one) => one.name === file.name) === i));
    if (input.current) input.current.value = "";
  };
  return (
    <section class={"card drop" + (over ? " over" : "")} aria-label="Videos of this machine"
      onDragOver={(event) => { event.preventDefault(); setOver(true); }} onDragLeave={() => setOver(false)} onDrop={(event) => { event.preventDefault(); setOver(false); add(event.dataTransfer?.files); }}>
      <Glyph name="up" />
      <p><b>Drop videos here</b></p>
      <label class="button">Choose files<input ref={input} class="sr" type="file" name="video" multiple accept="video/*,audio/*,.mkv,.ts,.m2ts,.srt,.vtt" onChange={(event) => add(event.currentTarget.files)} /></label>
      <Interrupted files={files} />
      {files.length > 0 && (
        <ul class="rows plain">
          {files.map((file) => <li key={file.name} class="line"><span class="grow clip">{file.name}</span><span class="muted num">{begunOf(file) ? "goes on, " : ""}{bytes(file.size)}</span><Button icon="close" label={"Leave out " + file.name} look="quiet" onPress={() => onFiles(files.filter((one) => one !== file))} /></li>)}
        </ul>
      )}
    </section>
  );
}
