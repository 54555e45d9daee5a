import { bytes, percent } from "../model/format";
import { uploads, type Upload } from "../model/upload";
import { Bar } from "./Bar";
import { Button } from "./Button";

// Uploads are under way whichever view is shown.
export function Uploads() {
  const all = uploads.value.filter((upload) => upload.state !== "done");
  if (all.length === 0) return null;
  return <section class="uploads" aria-label="Uploads">{all.map((upload) => <UploadRow key={upload.id} upload={upload} />)}</section>;
}

function UploadRow({ upload }: { upload: Upload }) {
  const done = percent(upload.sent, upload.file.size);
  return (
    <div class="upload">
      <span class="clip">{upload.file.name}</span>
      <span class="muted num">{upload.problem || (upload.state === "waiting" ? "waiting" : upload.state === "paused" ? `paused at ${done} %` : `${done} % of ${bytes(upload.file.size)}`)}</span>
      {upload.state === "sending" && <Button icon="pause" label="Pause" look="quiet" onPress={upload.pause} />}
      {(upload.state === "paused" || upload.state === "failed") && <Button icon="again" label="Try again" look="quiet" onPress={upload.resume} />}
      <Button icon="close" label="Give up" look="quiet" onPress={upload.cancel} />
      <Bar value={done} label={"Upload of " + upload.file.name} />
    </div>
  );
}
