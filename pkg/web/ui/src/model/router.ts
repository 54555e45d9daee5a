import { signal } from "@preact/signals";

// The address that is shown: every view has one.
export const address = signal(new URL(location.href));

export function go(to: string, replace = false): void {
  const next = new URL(to, location.href);
  if (next.href === location.href) return;
  if (replace) history.replaceState(null, "", next);
  else history.pushState(null, "", next);
  const moved = next.pathname !== address.peek().pathname;
  address.value = next;
  if (moved && !replace) {
    scrollTo(0, 0);
    requestAnimationFrame(() => document.querySelector<HTMLElement>("#view")?.focus({ preventScroll: true }));
  }
}

// setQuery changes one parameter of the address; "" removes it.
export function setQuery(name: string, value: string): void {
  const next = new URL(address.peek());
  if (value) next.searchParams.set(name, value);
  else next.searchParams.delete(name);
  go(next.href, true);
}

export function query(name: string): string {
  return address.value.searchParams.get(name) ?? "";
}

// Links within the dashboard do not load it again.
export function catchLinks(): void {
  addEventListener("popstate", () => { address.value = new URL(location.href); });
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    if (!link || !plain || event.defaultPrevented || link.target || link.hasAttribute("download") || link.origin !== location.origin || /^\/(media|docs|live)\//.test(link.pathname)) return;
    event.preventDefault();
    go(link.href);
  });
}

export const path = {
  board: (name: string) => "/boards/" + encodeURIComponent(name),
  job: (id: number) => "/jobs/" + id,
  video: (place: string) => "/videos/" + place.split("/").map(encodeURIComponent).join("/"),
  live: (name: string) => "/streams/" + encodeURIComponent(name),
  docs: (page: string) => "/docs/" + page,
  stream: (job: number) => `/stream/${job}/seek.m3u8`, // of a job that is not done
  media: (place: string) => "/media/" + place.split("/").map(encodeURIComponent).join("/"),
};
