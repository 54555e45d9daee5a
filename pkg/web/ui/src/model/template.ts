import { attempt } from "./act";
import { send } from "./api";
import { bytes, percent } from "./format";
import { state } from "./live";
import type { Operation, Template } from "./types";

// What pibootd needs to know to make a template.
export interface NewTemplate {
  name: string;
  recipe: Operation["recipe"];
  release?: string;
  arch?: string;
  packages?: string[];
  authorized_keys?: string;
  keep_password?: boolean;
  allow_mismatch?: boolean;
  mirror?: string;
  path?: string;
  upload?: string;
  board?: string;
  force?: boolean;
}

export const refOf = (template: Template): string => `${template.name}@${template.version}`;
export const isOpen = (op: Operation): boolean => op.state === "waiting" || op.state === "running";

export function makeTemplate(wanted: NewTemplate): Promise<Operation> {
  return attempt(() => send<Operation>("POST", "templates", wanted));
}

export const recipeWords: Record<Operation["recipe"], string> = { minimal: "the minimal system", debian: "a full Debian", import: "an import", "from-pi": "a board" };

const stepWords: Record<string, string> = {
  download: "downloading packages", "package lists": "downloading package lists", install: "installing packages", unpack: "unpacking", copy: "copying", "kernel modules": "unpacking kernel modules",
  "boot files": "copying boot files", "copy the boot files": "copying boot files", "write to disk": "writing to disk", hash: "hashing files", compare: "comparing files", verify: "verifying files",
};
const inBytes = new Set(["download", "copy"]);

// stepOf says what an operation does, and how far that is where somebody knows.
export function stepOf(op: Operation): string {
  if (op.state === "waiting") return Object.values(state.peek()?.operations ?? {}).some((other) => other.id < op.id && isOpen(other)) ? "waits for another template to be made" : "starting";
  const word = stepWords[op.step ?? ""] ?? op.step ?? "starting";
  if (!op.done) return word;
  const counted = inBytes.has(op.step ?? "") || (op.step === "unpack" && op.recipe === "import");
  if (!op.total) return counted ? `${word}, ${bytes(op.done)}` : word;
  return counted ? `${word}, ${bytes(op.done)} of ${bytes(op.total)}` : `${word}, ${percent(op.done, op.total)} %`;
}
