import { useEffect, useState } from "preact/hooks";
import { attempt, messageOf } from "../model/act";
import { get } from "../model/api";
import { bytes } from "../model/format";
import type { ShareDir, ShareFile } from "../model/types";
import { Button } from "./Button";
import { Dialog } from "./Dialog";
import { Empty, Loading } from "./Empty";
import { Search } from "./Field";
import { Glyph } from "./Icon";
import { Paged } from "./Paged";
import { Ago } from "./Time";

// A SharePicker looks for a video in the media share.
export function SharePicker({ onPick, onClose }: { onPick: (path: string) => void; onClose: () => void }) {
  const [place, setPlace] = useState("");
  const [list, setList] = useState<ShareDir | undefined>(undefined);
  const [problem, setProblem] = useState("");
  const [text, setText] = useState("");
  useEffect(() => {
    let over = false;
    setList(undefined);
    setProblem("");
    attempt(() => get<ShareDir>("files?dir=" + encodeURIComponent(place))).then((found) => { if (!over) setList(found); }, (error: unknown) => { if (!over) setProblem(messageOf(error)); });
    return () => { over = true; };
  }, [place]);
  const go = (to: string) => { setText(""); setPlace(to); };
  const open = (file: ShareFile) => { const path = (place && place + "/") + file.name; if (file.dir) go(path); else onPick(path); };
  const found = (list?.files ?? []).filter((file) => file.name.toLowerCase().includes(text.toLowerCase()));
  const above = place.split("/").filter(Boolean);
  return (
    <Dialog title="A video of the media share" onClose={onClose}>
      <div class="stack">
        <nav class="crumbs line" aria-label="Directory">
          <button type="button" class="link" disabled={place === ""} onClick={() => go("")}>The share</button>
          {above.map((name, i) => <span key={i}>/ <button type="button" class="link" disabled={i === above.length - 1} onClick={() => go(above.slice(0, i + 1).join("/"))}>{name}</button></span>)}
        </nav>
        <Search value={text} label="Search this directory" onChange={setText} />
        {problem && <p class="problem" role="alert">{problem}</p>}
        {!list && !problem && <Loading rows={3} />}
        {list && (
          <ul class="rows plain files">
            <Paged items={found}>{(file) => <li key={file.name}><button type="button" class="file" onClick={() => open(file)}><Glyph name={file.dir ? "arrow" : "media"} /><span class="grow clip" title={file.name}>{file.name}{file.dir && "/"}</span>{!file.dir && <span class="muted num">{bytes(file.bytes ?? 0)}</span>}<span class="muted num wide-only"><Ago at={file.modified} /></span></button></li>}</Paged>
          </ul>
        )}
        {list && found.length === 0 && <Empty title={list.files.length === 0 ? "It is empty." : "Nothing here has that name."} />}
        {list?.more && <p class="muted">There is more than is shown. A path can be typed.</p>}
        <footer><Button onPress={onClose}>Cancel</Button></footer>
      </div>
    </Dialog>
  );
}
