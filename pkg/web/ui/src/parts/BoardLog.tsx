import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { attempt, messageOf } from "../model/act";
import { get, lines, Problem } from "../model/api";
import { clock, exact } from "../model/format";
import type { LogLine } from "../model/types";
import { Button } from "./Button";
import { CopyButton } from "./Copy";
import { Empty } from "./Empty";
import { ChoiceField, Search } from "./Field";

const kept = 1000; // lines
const first = 300;

interface Log { lines?: LogLine[]; problem?: string; login?: boolean }

// useLog follows what a board logs. Only an admin may read that, who is asked to log in only
// when wanted.
function useLog(board: string): [Log, () => Promise<void>] {
  const [log, setLog] = useState<Log>({});
  const [tries, setTries] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    let got: LogLine[] = [], drawn = 0;
    const draw = () => { drawn = 0; setLog({ lines: got }); };
    const read = async () => {
      const at = "logs?board=" + encodeURIComponent(board);
      got = await get<LogLine[]>(`${at}&last=${first}`, abort.signal);
      draw();
      for await (const line of lines<LogLine>("GET", `${at}&follow=true&after=${got.at(-1)?.id ?? 0}`, undefined, abort.signal)) {
        got = [...got.slice(1 - kept), line];
        drawn ||= window.setTimeout(draw, 100);
      }
    };
    read().catch((error: unknown) => {
      if (!abort.signal.aborted) setLog({ problem: messageOf(error), login: error instanceof Problem && (error.status === 401 || error.status === 403) });
    });
    return () => { abort.abort(); clearTimeout(drawn); };
  }, [board, tries]);
  const logIn = async () => {
    await attempt(() => get(`logs?board=${encodeURIComponent(board)}&last=1`)).catch(() => undefined);
    setTries(tries + 1);
  };
  return [log, logIn];
}

const isKernel = (line: LogLine): boolean => line.source === "netconsole" || line.program === "kernel";
const sources: Record<string, (line: LogLine) => boolean> = { "": () => true, kernel: isKernel, programs: (line) => !isKernel(line), warnings: (line) => line.severity <= 4 };
const asText = (line: LogLine): string => [line.at, line.program, line.text].filter(Boolean).join("  ");

// A BoardLog is what the boot code, the kernel and the programs of a board say, as they say it.
export function BoardLog({ board }: { board: string }) {
  const [log, logIn] = useLog(board);
  const [text, setText] = useState("");
  const [source, setSource] = useState("");
  const wanted = (log.lines ?? []).filter((line) => (sources[source] ?? isKernel)(line) && `${line.program ?? ""} ${line.text}`.toLowerCase().includes(text.toLowerCase()));
  return (
    <section class="card" aria-labelledby="board-log">
      <header class="head tools">
        <h2 id="board-log">Log</h2><span class="grow" />
        <ChoiceField label="Of" value={source} onChange={setSource} options={[["", "everything"], ["kernel", "kernel"], ["programs", "programs"], ["warnings", "warnings"]]} />
        <Search value={text} label="Search the log" onChange={setText} /><CopyButton text={wanted.map(asText).join("\n")}>Copy</CopyButton>
      </header>
      {log.login && <Empty title="The log is for the admin."><p>Programs log names, addresses and sometimes secrets.</p><Button onPress={logIn}>Log in to read it</Button></Empty>}
      {log.problem && !log.login && <p class="problem" role="alert">{log.problem}</p>}
      {log.lines && wanted.length === 0 && <Empty title={log.lines.length ? "No line is like that." : "It has logged nothing yet."}>{log.lines.length === 0 && "Lines of its boot, its kernel and its journal appear here as they come."}</Empty>}
      {wanted.length > 0 && <LogText lines={wanted} />}
    </section>
  );
}

// LogText stays at the end while its reader is there.
function LogText({ lines }: { lines: LogLine[] }) {
  const box = useRef<HTMLOListElement>(null);
  const atEnd = useRef(true);
  useLayoutEffect(() => { if (atEnd.current && box.current) box.current.scrollTop = box.current.scrollHeight; });
  return (
    <ol class="loglines" ref={box} tabIndex={0} aria-label="Lines of the log" onScroll={(event) => { const at = event.currentTarget; atEnd.current = at.scrollHeight - at.scrollTop - at.clientHeight < 24; }}>
      {lines.map((line) => (
        <li key={line.id} class={line.severity <= 3 ? "bad" : line.severity === 4 ? "warn" : ""}>
          <time dateTime={line.at} class="num" title={exact(new Date(line.at))}>{clock(new Date(line.at))}<small>:{String(new Date(line.at).getSeconds()).padStart(2, "0")}</small></time>
          <span class="break">{line.program && <span class="muted">{line.program} </span>}{line.severity <= 4 && <span class="sr">{line.severity <= 3 ? "error: " : "warning: "}</span>}{line.text}</span>
        </li>
      ))}
    </ol>
  );
}
