import { useEffect, useState } from "preact/hooks";
import { get } from "../model/api";
import { count } from "../model/format";
import type { Board } from "../model/types";
import { CopyButton } from "./Copy";
import { Mark } from "./Icon";

interface Served {
  boot?: { cmdline_txt: string; config_txt: string; cmdline_file: string };
  mismatches?: { file: string; what: string }[];
  problem?: string;
}

// BootFiles are the files that pibootd makes for a board, and what its boot would miss.
export function BootFiles({ board }: { board: Board }) {
  const [served, setServed] = useState<Served | undefined>(undefined);
  const settings = JSON.stringify([board.settings, board.template, board.version, board.ip]);
  useEffect(() => {
    const abort = new AbortController();
    get<Served>("pis/" + board.serial, abort.signal).then(setServed, () => undefined);
    return () => abort.abort();
  }, [board.serial, settings]);
  if (!served) return null;
  const wrong = served.mismatches ?? [];
  return (
    <details class="card bootfiles" open={wrong.length > 0 || served.problem !== undefined}>
      <summary><h2>Boot files</h2>{wrong.length > 0 ? <span class="is-slow">{count(wrong.length, "file")} to look at</span> : <span class="muted">what it would be served now</span>}</summary>
      {served.problem && <p class="problem">{served.problem}</p>}
      {wrong.map((one) => <p key={one.file} class="line"><Mark shape="warning" title="warning" /><code>{one.file}</code><span class="break">{one.what}</span></p>)}
      {served.boot && <div class="halves">
        <BootFile name={served.boot.cmdline_file || "cmdline.txt"} text={served.boot.cmdline_txt} />
        <BootFile name="config.txt" text={served.boot.config_txt} />
      </div>}
    </details>
  );
}

function BootFile({ name, text }: { name: string; text: string }) {
  return <div class="log"><header><b>{name}</b><CopyButton text={text} /></header><pre tabIndex={0} aria-label={name}>{text}</pre></div>;
}
