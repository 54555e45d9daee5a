import { signal } from "@preact/signals";
import { checkSession, Problem, session, setToken, token } from "./api";

// The messages at the edge of the page, until they are read.
export interface Notice { id: number; text: string; bad: boolean; undo?: (() => Promise<unknown>) | undefined }
export const notices = signal<Notice[]>([]);
let numbers = 0;
const readFor = 6000; // ms; what is wrong stays until it is closed

export function tell(text: string, bad = false, undo?: () => Promise<unknown>): void {
  const id = ++numbers;
  notices.value = [...notices.value.slice(-3), { id, text, bad, undo }];
  if (!bad) setTimeout(() => forget(id), undo ? 2 * readFor : readFor);
}

export function forget(id: number): void {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}

// Whether somebody has to log in, and what waits for that.
export const asksLogin = signal<{ why: string; then: (ok: boolean) => void } | undefined>(undefined);

function login(why: string): Promise<boolean> {
  return new Promise((resolve) => { asksLogin.value = { why, then: resolve }; });
}

export function messageOf(error: unknown): string {
  if (error instanceof Problem && error.status === 405) return "This pibootd changes that only by its command line.";
  return error instanceof Error ? error.message : String(error);
}

// attempt does what changes something. Where that needs a login, it asks for one and
// tries again. It throws what is wrong.
export async function attempt<T>(what: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await what();
    } catch (error) {
      const refused = error instanceof Problem && (error.status === 401 || (error.status === 403 && !session.peek()?.csrf && session.peek() !== undefined && mayLogIn(error)));
      if (!refused) throw error;
      if (error.status === 401) setToken(""); // it is wrong, and would refuse what is public
      if (session.peek()) await checkSession();
      if (!(await login(error.message))) throw error;
    }
  }
}

// A token that is not enough may give way to a login; a login that is refused stays.
function mayLogIn(error: Problem): boolean {
  return token() !== "" && error.message.includes("scope");
}

// act does what changes something, and tells what became of it.
export async function act<T>(what: () => Promise<T>, done?: string | ((result: T) => string)): Promise<T | undefined> {
  try {
    const result = await attempt(what);
    if (done) tell(typeof done === "string" ? done : done(result));
    return result;
  } catch (error) {
    tell(messageOf(error), true);
    return undefined;
  }
}
