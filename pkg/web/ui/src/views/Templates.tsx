import { useEffect, useState } from "preact/hooks";
import { act, messageOf } from "../model/act";
import { get, send } from "../model/api";
import { bytes, count, percent } from "../model/format";
import { state } from "../model/live";
import { go } from "../model/router";
import { isOpen, recipeWords, refOf, stepOf } from "../model/template";
import type { Operation, Template } from "../model/types";
import { Bar } from "../parts/Bar";
import { Button } from "../parts/Button";
import { Confirm } from "../parts/Confirm";
import { Empty, Loading } from "../parts/Empty";
import { Mark, Status } from "../parts/Icon";
import { MakeTemplate } from "../parts/MakeTemplate";
import { Ago } from "../parts/Time";
import { Missing } from "./Missing";

// TemplatesPage lists what boards can boot, and what is being made.
export function TemplatesPage() {
  const [making, setMaking] = useState(location.hash === "#make");
  const templates = Object.values(state.value?.templates ?? {}).sort((a, b) => a.name.localeCompare(b.name) || b.version - a.version);
  const operations = Object.values(state.value?.operations ?? {}).filter((op) => op.state !== "done").sort((a, b) => b.id - a.id);
  const close = () => { setMaking(false); go("/templates", true); };
  const make = <Button icon="plus" look="primary" onPress={() => setMaking(true)}>Make a template</Button>;
  return (
    <section class="page">
      <header class="title"><h1>Templates</h1><span class="grow" />{make}</header>
      {operations.length > 0 && <section class="card" aria-label="Being made"><ul class="rows">{operations.map((op) => <OperationRow key={op.id} op={op} />)}</ul></section>}
      <div class="card">
        <ul class="rows">{templates.map((one) => <TemplateRow key={refOf(one)} template={one} />)}</ul>
        {templates.length === 0 && <Empty title="There is no template yet."><p>A template is the system that boards boot a copy of.</p>{operations.some(isOpen) ? <p>The first one is being made.</p> : make}</Empty>}
      </div>
      {making && <MakeTemplate onClose={close} />}
    </section>
  );
}

const bootsOn = (one: Template): string => (one.boot_dir ? (one.boards?.length ? "for " + one.boards.join(", ") : "boots over the network") : "cannot be netbooted: it has no boot files");

function usersOf(one: Template) {
  return Object.values(state.value?.boards ?? {}).filter((board) => board.template === one.name && board.version === one.version);
}

function TemplateRow({ template: one }: { template: Template }) {
  const used = usersOf(one).length;
  return (
    <li class="row template">
      <a class="name clip" href={"/templates/" + refOf(one)}>{refOf(one)}</a>
      <span class="clip">{one.os}, {one.arch}</span>
      <span class="muted clip">{bootsOn(one)}</span>
      <span class="muted num wide-only">{bytes(one.size_bytes)}</span>
      <span class="muted wide-only"><Ago at={one.created} /></span>
      <span class="num end">{used ? count(used, "board") : <span class="muted">no board</span>}</span>
    </li>
  );
}

const operationShapes = { waiting: "queued", running: "running", done: "done", failed: "failed", cancelled: "cancelled" } as const;

// An OperationRow is a template on its way, or why it did not become one.
export function OperationRow({ op }: { op: Operation }) {
  const end = () => act(() => send("DELETE", "operations/" + op.id), isOpen(op) ? `${op.name} is cancelled; what was made of it is removed.` : undefined);
  return (
    <li class="row making">
      <Mark shape={operationShapes[op.state]} title={op.state} />
      <span class="clip"><b>{op.name}</b> <span class="muted">{op.source ?? recipeWords[op.recipe]}</span></span>
      {isOpen(op) ? <span class="muted clip num" role="status">{stepOf(op)}</span> : <span class="break">{op.error ?? "cancelled"} <span class="muted"><Ago at={op.ended ?? op.created} /></span></span>}
      <Button icon="close" label={(isOpen(op) ? "Cancel " : "Forget ") + op.name} look="quiet" onPress={end} />
      {op.state === "running" && op.total ? <Bar value={percent(op.done ?? 0, op.total)} label={"Making " + op.name} /> : null}
    </li>
  );
}

interface Whole extends Template { users: string[]; kept?: string[]; mismatches?: { file: string; what: string }[] }

// TemplatePage is one version of a template: what is in it, who uses it, what it lacks.
export function TemplatePage({ name }: { name: string }) {
  const one = state.value?.templates[name];
  const [whole, setWhole] = useState<Whole | undefined>(undefined);
  const [problem, setProblem] = useState("");
  const [asking, setAsking] = useState(false);
  useEffect(() => {
    const abort = new AbortController();
    get<Whole>("templates/" + encodeURIComponent(name), abort.signal).then(setWhole, (error: unknown) => { if (!abort.signal.aborted) setProblem(messageOf(error)); });
    return () => abort.abort();
  }, [name]);
  if (!one) return <Missing what="template" />;
  const users = usersOf(one), kept = whole?.kept ?? [];
  return (
    <section class="page">
      <p class="crumbs"><a href="/templates">Templates</a> / {one.name}</p>
      <header class="title"><h1 class="clip">{name}</h1><span class="grow" /><Button icon="trash" onPress={() => setAsking(true)} disabled={users.length > 0 || kept.length > 0}>Delete</Button></header>
      <div class="halves">
        <section class="card" aria-labelledby="template-facts"><h2 id="template-facts">The template</h2>
          <dl class="facts-list">
            <dt>System</dt><dd>{one.os}, {one.arch}</dd>
            <dt>Kernels</dt><dd class="break">{one.kernels?.join(", ") || "none"}</dd>
            <dt>Boot files</dt><dd>{one.boot_dir ? "/" + one.boot_dir : "none: it cannot be netbooted"}</dd>
            <dt>Complete for</dt><dd>{whole ? whole.boards?.join(", ") || "no model" : "not known"}</dd>
            <dt>Size</dt><dd class="num">{bytes(one.size_bytes)}, {count(one.files, "file")}</dd>
            <dt>Made</dt><dd><Ago at={one.created} /></dd>
          </dl>
        </section>
        <section class="card" aria-labelledby="template-users"><h2 id="template-users">Used by</h2>
          {users.length > 0 ? <p>{users.map((board, i) => <>{i > 0 && ", "}<a key={board.serial} href={"/boards/" + board.name}>{board.name}</a></>)}</p> : <p class="muted">No board.</p>}
          {kept.length > 0 && <p class="muted">The kept roots {kept.join(", ")} need it, too.</p>}
          {(users.length > 0 || kept.length > 0) && <p class="muted">It can be deleted once nothing uses it.</p>}
        </section>
      </div>
      <section class="card" aria-labelledby="template-lacks"><h2 id="template-lacks">{whole?.mismatches?.length ? "Boot files that do not match" : "Boot files"}</h2>
        {problem && <p class="problem" role="alert">{problem}</p>}
        {!whole && !problem && <Loading rows={1} />}
        {whole && !whole.mismatches?.length && <Status shape="well" word="All match each other" />}
        {whole?.mismatches && <ul class="rows plain">{whole.mismatches.map((one) => <li key={one.file} class="line"><Mark shape="warning" /><code>{one.file}</code><span class="break">{one.what}</span></li>)}</ul>}
      </section>
      {asking && <Confirm title={`Delete ${name}?`} lost={`${count(one.files, "file")} (${bytes(one.size_bytes)}) are deleted and cannot come back. No board uses them.`} word="Delete it" typed={name} done={`${name} is deleted.`} onClose={() => setAsking(false)} run={async () => { await send("DELETE", "templates/" + encodeURIComponent(name)); go("/templates"); }} />}
    </section>
  );
}
