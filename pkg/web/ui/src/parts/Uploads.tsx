import { bytes, percent, span } from "../model/format";
import { nextPath, uploads, type Upload } from "../model/upload";
import { Bar } from "./Bar";
import { Button } from "./Button";

// Uploads are under way whichever view is shown.
export function Uploads() {
  const all = uploads.value.filter((upload) => upload.state !== "done");
  if (all.length === 0) return null;
  return <section class="uploads" aria-label="Uploads">{all.map((upload) => <UploadRow key={upload.id} upload={upload} />)}</section>;
}

function stateOf({ state, sent, rate, file, problem }: Upload): string {
  const done = percent(sent, file.size);
  if (problem) return problem;
  if (state === "waiting") return "waiting";
  if (state === "paused") return `paused at ${done} %`;
  const left = rate > 0 && sent < file.size ? `, ${bytes(rate)}/s, ${span((file.size - sent) / rate)} left` : "";
  return `${done} % of ${bytes(file.size)}${left}`;
}

function UploadRow({ upload }: { upload: Upload }) {
  const { file, state, taken } = upload;
  return (
    <div class="upload">
      <span class="clip" title={file.name}>{file.name}</span>
      {state === "sending" && <Button icon="pause" label="Pause" look="quiet" onPress={upload.pause} />}
      {(state === "paused" || (state === "failed" && !taken)) && <Button icon="again" label="Try again" look="quiet" onPress={upload.resume} />}
      <Button icon="close" label="Give up" look="quiet" onPress={upload.cancel} />
      {taken ? <Taken upload={upload} /> : <span class="muted num below">{stateOf(upload)}</span>}
      {!taken && <Bar value={percent(upload.sent, file.size)} label={"Upload of " + file.name} />}
    </div>
  );
}

// Taken asks what to do where the share has a file of this name.
function Taken({ upload: { path, rename, useOther } }: { upload: Upload }) {
  const free = nextPath(path);
  return (
    <div class="below stack" role="alert">
      <p>The media share has a file {path} already.</p>
      <p class="actions"><Button look="primary" onPress={useOther}>Transcode that one</Button><Button onPress={() => rename(free)}>{`Upload as ${free.split("/").pop() ?? free}`}</Button></p>
    </div>
  );
}
