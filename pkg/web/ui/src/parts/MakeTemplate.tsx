import { useRef, useState } from "preact/hooks";
import { messageOf, tell } from "../model/act";
import { Problem } from "../model/api";
import { bytes, words } from "../model/format";
import { state } from "../model/live";
import { makeTemplate, type NewTemplate } from "../model/template";
import type { Operation } from "../model/types";
import { upload } from "../model/upload";
import { Button } from "./Button";
import { Dialog } from "./Dialog";
import { AreaField, CheckField, ChoiceField, TextField } from "./Field";

type Recipe = Operation["recipe"];

const recipes: [Recipe, title: string, text: string][] = [
  ["minimal", "Minimal", "A small system, made for transcoding alone. Some 300 MB, a minute or two."],
  ["debian", "Full Debian", "With ssh, systemd and apt; boards can be upgraded. 1 GB or more, and some ten minutes."],
  ["import", "An image of yours", "Raspberry Pi OS or another system, from a disk image or a tar archive."],
  ["from-pi", "A board's root", "What was set up on a board, without what makes it that board."],
];
const usualNames: Record<Recipe, string> = { minimal: "minimal", debian: "debian", import: "raspios", "from-pi": "muxer" };

// MakeTemplate orders a template. pibootd makes it by itself then, whoever looks.
export function MakeTemplate({ onClose }: { onClose: () => void }) {
  const [form, setForm] = useState({ recipe: "minimal" as Recipe, name: "minimal", release: "bookworm", arch: "arm64", packages: "", keys: "", path: "", keepPassword: false, board: "", force: false, mirror: "", allowMismatch: false });
  const boards = Object.values(state.value?.boards ?? {}).sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  const board = boards.find((one) => one.serial === form.board) ?? boards[0];
  const [file, setFile] = useState<File | undefined>(undefined);
  const [wrong, setWrong] = useState<{ text: string; field?: string | undefined }>({ text: "" });
  const set = (to: Partial<typeof form>) => setForm({ ...form, ...to });
  const wanted = (): NewTemplate => {
    const { recipe, name, release, arch, packages, keys, keepPassword, force, allowMismatch } = form;
    const mirror = form.mirror.trim() ? { mirror: form.mirror.trim() } : {};
    const access = keys.trim() ? { authorized_keys: keys.trim() + "\n" } : {};
    if (recipe === "minimal") return { name, recipe, release, ...mirror };
    if (recipe === "debian") return { name, recipe, release, arch, packages: words(packages), ...mirror, ...access };
    if (recipe === "import") return { name, recipe, keep_password: keepPassword, allow_mismatch: allowMismatch, ...access };
    return { name, recipe, keep_password: keepPassword, allow_mismatch: allowMismatch, board: board?.serial ?? "", ...(board?.online && force ? { force } : {}), ...access };
  };
  const make = async () => {
    setWrong({ text: "" });
    try {
      if (form.recipe === "import" && file) upload([file], { template: wanted() });
      else {
        await makeTemplate(form.recipe === "import" ? { ...wanted(), path: form.path.trim() } : wanted());
        tell(`${form.name} is being made. It goes on when this page is closed.`);
      }
      onClose();
    } catch (error) {
      setWrong({ text: messageOf(error), field: error instanceof Problem ? error.field : undefined });
    }
  };
  const problemOf = (field: string) => (wrong.field === field ? wrong.text : undefined);
  const choose = (recipe: Recipe) =>
    set({ recipe, keepPassword: recipe === "from-pi", name: Object.values(usualNames).includes(form.name) || form.name === "" ? usualNames[recipe] : form.name });
  const copies = form.recipe === "import" || form.recipe === "from-pi";
  const impossible = (form.recipe === "import" && !file && !form.path.trim()) || (form.recipe === "from-pi" && (!board || (board.online && !form.force)));
  return (
    <Dialog title="Make a template" onClose={onClose}>
      <form class="stack" onSubmit={(event) => { event.preventDefault(); void make(); }}>
        <fieldset class="choices">
          <legend class="sr">What to make it of</legend>
          {recipes.map(([value, title, text]) => (
            <label key={value} class={"choice" + (form.recipe === value ? " chosen" : "")}>
              <input type="radio" name="recipe" checked={form.recipe === value} onChange={() => choose(value)} /><span><b>{title}</b><span class="muted">{text}</span></span>
            </label>
          ))}
        </fieldset>
        {form.recipe === "import" && <Source file={file} onFile={setFile} path={form.path} onPath={(path) => set({ path })} problem={problemOf("path")} />}
        {form.recipe === "from-pi" && (boards.length > 0
          ? <ChoiceField label="Board" value={board?.serial ?? ""} onChange={(serial) => set({ board: serial, force: false })} options={boards.map((one) => [one.serial, one.name])} problem={problemOf("board")} />
          : <p class="muted">There is no board yet.</p>)}
        {form.recipe === "from-pi" && board?.online && <CheckField label={`${board.name} runs. Copy it all the same.`} checked={form.force} onChange={(force) => set({ force })} help="Files that it writes meanwhile may be incomplete. It is better to shut it down first." />}
        <div class="pair">
          <TextField label="Name" value={form.name} onChange={(name) => set({ name })} problem={problemOf("name")} required help="A name that exists gets a new version." />
          {!copies && <ChoiceField label="Release" value={form.release} onChange={(release) => set({ release })} problem={problemOf("release")} options={[["bookworm", "Debian 12, bookworm"], ["trixie", "Debian 13, trixie"]]} />}
        </div>
        {form.recipe === "debian" && <div class="pair">
          <ChoiceField label="Architecture" value={form.arch} onChange={(arch) => set({ arch })} options={[["arm64", "64 bit, arm64"], ["armhf", "32 bit, armhf"]]} />
          <TextField label="Further packages" value={form.packages} onChange={(packages) => set({ packages })} problem={problemOf("packages")} placeholder="htop vim" />
        </div>}
        {form.recipe !== "minimal" && <AreaField label="ssh keys that may log in" value={form.keys} onChange={(keys) => set({ keys })} problem={problemOf("authorized_keys")} placeholder="ssh-ed25519 AAAA… you@desk" help="One a line, as in ~/.ssh/id_ed25519.pub." />}
        {copies && <CheckField label="Keep the passwords that are in it" checked={form.keepPassword} onChange={(keepPassword) => set({ keepPassword })} help="Otherwise they are locked: all boards would share them." />}
        {copies && <CheckField label="Even if kernel modules or firmware files are missing" checked={form.allowMismatch} onChange={(allowMismatch) => set({ allowMismatch })} />}
        {!copies && <TextField label="Debian mirror" value={form.mirror} onChange={(mirror) => set({ mirror })} problem={problemOf("mirror")} placeholder="deb.debian.org" />}
        {wrong.text && !["name", "path", "release", "packages", "authorized_keys", "board", "mirror"].includes(wrong.field ?? "") && <p class="problem" role="alert">{wrong.text}</p>}
        <footer><Button onPress={onClose}>Cancel</Button><Button look="primary" submit disabled={impossible}>{form.recipe === "import" && file ? "Upload and import" : form.recipe === "import" ? "Import" : form.recipe === "from-pi" ? "Copy" : "Build"}</Button></footer>
      </form>
    </Dialog>
  );
}

interface SourceProperties { file: File | undefined; onFile: (file: File | undefined) => void; path: string; onPath: (path: string) => void; problem: string | undefined }

// Source is a file of this machine, or one that is in the media share already.
function Source({ file, onFile, path, onPath, problem }: SourceProperties) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <div class="stack">
      {file
        ? <p class="line"><span class="grow clip">{file.name}</span><span class="muted num">{bytes(file.size)}</span><Button icon="close" label={"Leave out " + file.name} look="quiet" onPress={() => onFile(undefined)} /></p>
        : <p><label class="button">Choose an image<input ref={input} class="sr" type="file" name="image" accept=".img,.xz,.gz,.zst,.zip,.tar,.tgz" onChange={(event) => onFile(event.currentTarget.files?.[0])} /></label> <span class="muted">.img or .tar, plain or as xz, gz, zst, zip</span></p>}
      {!file && <TextField label="Or one of the media share" value={path} onChange={onPath} problem={problem} placeholder="raspios.img.xz" help={`Its path below ${state.value?.system?.media_dir ?? "the media share"}.`} />}
    </div>
  );
}
