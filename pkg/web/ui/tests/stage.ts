import { expect, test as base, type Locator, type Page } from "@playwright/test";

declare const process: { env: Record<string, string | undefined> };
const env = (name: string): string => process.env["PIBOOTD_TEST_" + name] ?? "";

// Where the flows happen: the daemon, the way to it that can be cut, a video of 40 s that
// is large, and a directory for what flows share.
export const stage = env("STAGE"); // boards or videos: which flows happen on it
export const address = env("URL"), gate = env("GATE"), film = env("FILM"), dir = env("DIR");
export const sessionFile = dir + "/session.json"; // of the admin, who has logged in
export const password = "correct horse battery";

export const soon = Number(env("SOON") || 120) * 1000; // ms, far longer than anything takes, so that only a fault reaches it

type Words = Record<string, string | string[]>;

// offPage does something that happens off the page: see stage in cmd/pibootd.
export async function offPage(what: string, words: Words = {}): Promise<string> {
  const query = new URLSearchParams(Object.entries(words).flatMap(([name, value]) => [value].flat().map((one): [string, string] => [name, one])));
  const answer = await fetch(`${env("LAB")}${what}?${query}`, { method: "POST" });
  return answer.text();
}

export const powerOn = (board: number, words: Words = {}): Promise<string> => offPage("power-on", { board: String(board), ...words });
export const powerOff = (board: number): Promise<string> => offPage("power-off", { board: String(board) });
export const pibootd = (...arg: string[]): Promise<string> => offPage("pibootd", { arg });

// A test in which the page has logged no error but those that are expected.
export const test = base.extend<{ expected: RegExp[] }>({
  expected: [async ({ context }, use) => {
    const expected = [/status of 40\d/], errors: string[] = []; // what pibootd refuses is on the page
    context.on("console", (message) => { if (message.type() === "error") errors.push(`${message.text()} (${message.location().url})`); });
    context.on("weberror", (error) => { errors.push(String(error.error())); });
    await use(expected);
    expect(errors.filter((text) => !expected.some((one) => one.test(text))), "errors of the console").toEqual([]);
  }, { auto: true }],
});

export { expect };

// row is the row of a list that has a text.
export const row = (page: Page, text: string | RegExp): Locator => page.locator("#view .row").filter({ hasText: text });

export const notice = (page: Page, text: string | RegExp): Locator => page.locator(".notice").filter({ hasText: text });

export const status = (of: Locator | Page): Locator => of.locator(".status").first();

// addBoards registers boards by the command line.
export async function addBoards(...numbers: number[]): Promise<void> {
  for (const n of numbers) await pibootd("add-pi", "--mac", `dc:a6:32:00:00:0${n}`, "--serial", `2000000${n}`, "--name", `hlspi${n}`, "--ip", `10.77.0.5${n}`);
}

// drop drags files of this machine into the page.
export async function drop(page: Page, ...files: string[]): Promise<void> {
  // Only by an input can a test give a page a file as it is on the disk.
  await page.evaluate(() => document.body.append(Object.assign(document.createElement("input"), { type: "file", id: "dragged", multiple: true })));
  await page.locator("#dragged").setInputFiles(files);
  await page.locator(".drop").evaluate((zone) => {
    const input = document.querySelector<HTMLInputElement>("#dragged"), dataTransfer = new DataTransfer();
    for (const file of input?.files ?? []) dataTransfer.items.add(file);
    input?.remove();
    for (const type of ["dragover", "drop"]) zone.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
  });
}
