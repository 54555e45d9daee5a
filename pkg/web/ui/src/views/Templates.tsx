import { bytes, count } from "../model/format";
import { state } from "../model/live";
import { CopyLine } from "../parts/Copy";
import { Empty } from "../parts/Empty";
import { Ago } from "../parts/Time";

// TemplatesPage lists what boards can boot. Templates are made on the NAS itself.
export function TemplatesPage() {
  const templates = Object.values(state.value?.templates ?? {}).sort((a, b) => a.name.localeCompare(b.name) || b.version - a.version);
  const boards = Object.values(state.value?.boards ?? {});
  return (
    <section class="page">
      <header class="title"><h1>Templates</h1></header>
      <div class="card">
        <ul class="rows">
          {templates.map((one) => {
            const used = boards.filter((board) => board.template === one.name && board.version === one.version).length;
            return (
              <li key={one.name + one.version} class="row template">
                <b class="name clip">{one.name}@{one.version}</b>
                <span class="clip">{one.os}, {one.arch}</span>
                <span class="muted clip">{one.boot_dir ? (one.boards ? "for " + one.boards.join(", ") : "boots over the network") : "cannot be netbooted: it has no boot files"}</span>
                <span class="muted num wide-only">{bytes(one.size_bytes)}</span>
                <span class="muted wide-only"><Ago at={one.created} /></span>
                <span class="num end">{used ? <a href={"/boards?q=" + encodeURIComponent(one.name)}>{count(used, "board")}</a> : <span class="muted">no board</span>}</span>
              </li>
            );
          })}
        </ul>
        {templates.length === 0 && <Empty title="There is no template yet.">A template is the system that boards boot a copy of. One of the commands below makes one.</Empty>}
      </div>
      <section class="card stack" aria-labelledby="new-template">
        <h2 id="new-template">Make a template</h2>
        <p class="muted">A small system, made for transcoding alone. It takes a minute or two:</p>
        <CopyLine label="Command" text="sudo pibootd template build minimal" />
        <p class="muted">A whole Debian:</p>
        <CopyLine label="Command" text="sudo pibootd template build muxer --authorized-keys ~/.ssh/id_ed25519.pub" />
        <p class="muted">Raspberry Pi OS or another system, from its image or archive:</p>
        <CopyLine label="Command" text="sudo pibootd template import raspios raspios.img.xz" />
      </section>
    </section>
  );
}
