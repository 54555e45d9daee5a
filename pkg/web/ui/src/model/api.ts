import { signal } from "@preact/signals";

// A problem is why pibootd refuses a request, in its own words.
export class Problem extends Error {
  readonly status: number;
  readonly field: string | undefined;
  constructor(message: string, status: number, field?: string) {
    super(message);
    this.status = status;
    this.field = field;
  }
}

export interface Session {
  user: string;
  scope: "read" | "submit" | "admin";
  csrf?: string;
}

// What a browser that is not logged in can do about it.
export interface NoSession {
  setup?: boolean;
  login?: boolean;
  https?: string;
  public?: boolean; // reading needs no login
}

// Who is logged in; null: nobody; undefined: not known yet.
export const session = signal<Session | null | undefined>(undefined);
export const noSession = signal<NoSession>({});

// A token takes the place of a session. It is forgotten with the tab.
const tokenKey = "pibootd-token";
export function token(): string { return sessionStorage.getItem(tokenKey) ?? ""; }
export function setToken(text: string): void {
  if (text) sessionStorage.setItem(tokenKey, text);
  else sessionStorage.removeItem(tokenKey);
}

export function authHeaders(): Record<string, string> {
  const headers: Record<string, string> = {};
  const csrf = session.peek()?.csrf;
  if (csrf) headers["X-CSRF-Token"] = csrf;
  else if (token()) headers["Authorization"] = "Bearer " + token();
  return headers;
}

interface Refusal { error?: string; field?: string }

async function refusal(answer: Response): Promise<Problem> {
  let body: Refusal = {};
  try {
    body = (await answer.json()) as Refusal;
  } catch {
    // no JSON: something between here and pibootd answers
  }
  return new Problem(body.error ?? `${answer.status} ${answer.statusText}`, answer.status, body.field);
}

async function fetchFrom(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  const headers = authHeaders();
  const init: RequestInit = { method, headers };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  if (signal) init.signal = signal;
  let answer: Response;
  try {
    answer = await fetch("/api/v1/" + path, init);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem("pibootd does not answer", 0);
  }
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await fetchFrom("GET", path, undefined, signal)).json()) as T;
}

export async function send<T>(method: "POST" | "PUT" | "PATCH" | "DELETE", path: string, body?: unknown): Promise<T> {
  const answer = await fetchFrom(method, path, body);
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

// Streams end with the page, also if the browser keeps it.
const left = new AbortController();
addEventListener("pagehide", () => left.abort());

// lines reads an answer of one JSON value a line, as they come.
export async function* lines<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): AsyncGenerator<T> {
  const answer = await fetchFrom(method, path, body, signal ? AbortSignal.any([signal, left.signal]) : left.signal);
  if (!answer.body) return;
  const decoder = new TextDecoder();
  const reader = answer.body.getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    text += done ? decoder.decode() : decoder.decode(value, { stream: true });
    const parts = text.split("\n");
    text = parts.pop() ?? "";
    for (const part of parts) if (part) yield JSON.parse(part) as T;
    if (done) return;
  }
}

export interface Step<T> {
  step?: string;
  done?: number;
  total?: number;
  result?: T;
  error?: string;
  field?: string;
}

// steps makes a long request, and returns its result; onStep hears how far it is.
export async function steps<T>(method: "POST" | "GET", path: string, body: unknown, onStep: (step: Step<T>) => void): Promise<{ result?: T; problem?: string }> {
  let last: Step<T> = {};
  for await (const step of lines<Step<T>>(method, path, body)) {
    last = step;
    onStep(step);
  }
  if (last.error && last.result === undefined) throw new Problem(last.error, 200, last.field);
  return { ...(last.result === undefined ? {} : { result: last.result }), ...(last.error ? { problem: last.error } : {}) };
}

// checkSession finds out who is logged in.
export async function checkSession(): Promise<void> {
  try {
    let answer = await fetch("/api/v1/session", { headers: authHeaders() });
    if (answer.status === 401 && token()) {
      setToken(""); // it is wrong, or was revoked
      answer = await fetch("/api/v1/session");
    }
    if (answer.ok) session.value = (await answer.json()) as Session;
    else {
      session.value = null;
      if (answer.status === 401) noSession.value = (await answer.json()) as NoSession;
    }
  } catch {
    session.value = null;
  }
}

export async function logIn(credential: { password: string; code?: string }): Promise<void> {
  session.value = await send<Session>("POST", credential.code ? "setup" : "session", credential);
}

export async function logOut(): Promise<void> {
  setToken("");
  if (session.peek()) await send("DELETE", "session");
  session.value = null;
  await checkSession();
}
