import { signal } from "@preact/signals";

// The time, by the second, for what is shown as "14 s".
export const now = signal(new Date());

export function startClock(): void {
  setInterval(() => { if (!document.hidden) now.value = new Date(); }, 1000);
  document.addEventListener("visibilitychange", () => { now.value = new Date(); });
}
