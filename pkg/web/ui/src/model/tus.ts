import { authHeaders, Problem } from "./api";

// The tus protocol, as far as sending a file needs it: https://tus.io/protocols/resumable-upload

const version = { "Tus-Resumable": "1.0.0" };
const base = "/api/v1/uploads";

async function problemOf(answer: Response): Promise<Problem> {
  let said: { error?: string; field?: string } = {};
  try {
    said = (await answer.json()) as typeof said;
  } catch {
    // no JSON: something before pibootd answers
  }
  return new Problem(said.error ?? `${answer.status} ${answer.statusText}`, answer.status, said.field);
}

function inBase64(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

async function ask(method: string, address: string, headers: Record<string, string> = {}): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(address, { method, headers: { ...version, ...authHeaders(), ...headers } });
  } catch {
    throw new Problem("The connection to pibootd ended.", 0);
  }
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}

// create announces a file, and returns the address of its upload.
export async function create(path: string, size: number, purpose = ""): Promise<string> {
  const answer = await ask("POST", base, { "Upload-Length": String(size), "Upload-Metadata": "filename " + inBase64(path) + (purpose && ",purpose " + inBase64(purpose)) });
  return answer.headers.get("Location") ?? "";
}

// offsetOf returns how many bytes have arrived.
export async function offsetOf(address: string): Promise<number> {
  return Number((await ask("HEAD", address)).headers.get("Upload-Offset"));
}

export async function remove(address: string): Promise<void> {
  await ask("DELETE", address);
}

// sendFrom sends what is missing of a file, and tells how many bytes have been sent.
export function sendFrom(address: string, file: File, offset: number, onSent: (bytes: number) => void, abort: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PATCH", address);
    const headers = { ...version, ...authHeaders(), "Content-Type": "application/offset+octet-stream", "Upload-Offset": String(offset) };
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onSent(offset + event.loaded);
    request.onerror = () => reject(new Problem("The connection to pibootd ended.", 0));
    request.onabort = () => reject(new Problem("Paused.", 0));
    request.onload = () => (request.status < 300 ? resolve() : reject(new Problem(saidBy(request), request.status)));
    abort.addEventListener("abort", () => request.abort());
    request.send(file.slice(offset));
  });
}

function saidBy(request: XMLHttpRequest): string {
  try {
    return (JSON.parse(request.responseText) as { error?: string }).error ?? request.statusText;
  } catch {
    return request.statusText;
  }
}
