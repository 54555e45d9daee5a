import { request as requests, type Page } from "@playwright/test";
import { address, expect, notice, offPage, password, row, sessionFile, status, test } from "./stage";

test.use({ storageState: sessionFile });

// endSession ends the session of a page as if its time was over: the page is not told.
async function endSession(page: Page): Promise<void> {
  const other = await requests.newContext({ baseURL: address, storageState: await page.context().storageState() });
  const { csrf } = (await (await other.get("/api/v1/session")).json()) as { csrf: string };
  expect((await other.delete("/api/v1/session", { headers: { "X-CSRF-Token": csrf } })).status()).toBe(204);
  await other.dispose();
}

test.describe("after a session has ended", () => {
  test.use({ storageState: { cookies: [], origins: [] } });
  test("one logs in and is where one was", async ({ page }) => {
    await page.goto("/boards/hlspi1?from=here");
    const logIn = async () => {
      await page.getByLabel("Password").fill(password);
      await page.getByRole("button", { name: "Log in", exact: true }).click();
    };
    await logIn();
    await expect(page.getByRole("heading", { name: "hlspi1" })).toBeVisible();
    await endSession(page);
    await page.getByRole("button", { name: "Drain" }).click();
    await expect(page.getByRole("dialog", { name: "Log in" })).toBeVisible();
    await logIn();
    await expect(status(page.locator("#view"))).toHaveText("drained");
    await page.getByRole("button", { name: "End the drain" }).click();
    await expect(status(page.locator("#view"))).toHaveText("well");
    await endSession(page);
    await page.reload();
    await logIn();
    await expect(page.getByRole("heading", { name: "hlspi1" })).toBeVisible();
    await expect(page).toHaveURL("/boards/hlspi1?from=here");
    await page.goto("/login");
    await expect(page.getByText("You are admin.")).toBeVisible();
  });
});

test("two browsers show each other's changes, and leave focus, selection and scroll alone", async ({ page, browser }) => {
  await page.setViewportSize({ width: 700, height: 200 }); // there is more below than the list can lose
  await page.goto("/boards?q=hlspi");
  const search = page.getByLabel("Search boards");
  await search.press("End");
  await row(page, "hlspi1").evaluate((found) => { scrollTo(0, 60); getSelection()?.selectAllChildren(found.querySelector(".name") ?? found); });
  await search.focus();
  const kept = () => page.evaluate(() => [scrollY, getSelection()?.toString(), document.activeElement?.getAttribute("aria-label")]);
  const before = await kept();

  const other = await (await browser.newContext({ storageState: sessionFile })).newPage();
  await other.goto("/boards/hlspi1");
  await other.getByRole("button", { name: "Settings" }).click();
  await other.getByLabel("Labels").fill("row1 attic");
  await other.getByRole("button", { name: "Save" }).click();
  await expect(notice(other, "Changed: ")).toBeVisible();
  await other.getByRole("button", { name: "Drain" }).click();
  await expect(status(row(page, "hlspi1"))).toHaveText("drained");
  expect(await kept()).toEqual(before);
  await page.setViewportSize({ width: 1440, height: 900 });
  await expect(row(page, "hlspi1")).toContainText("attic");
  await row(page, "hlspi1").getByRole("link", { name: "hlspi1" }).click();
  await page.getByRole("button", { name: "End the drain" }).click();
  await expect(other.getByRole("button", { name: "Drain", exact: true })).toBeVisible();
  await other.context().close();
});

// tabTo goes on by the tabulator until something has the focus, and the ring that shows it.
async function tabTo(page: Page, name: string | RegExp, role: "button" | "link" | "textbox" = "button"): Promise<void> {
  const wanted = page.getByRole(role, { name, exact: typeof name === "string" }).first();
  for (let i = 0; i < 60 && !(await wanted.evaluate((one) => one === document.activeElement)); i++) await page.keyboard.press("Tab");
  await expect(wanted).toBeFocused();
  expect(await wanted.evaluate((one) => getComputedStyle(one).outlineStyle), `the ring around ${String(name)}`).not.toBe("none");
}

test("everything is done by the keyboard alone", async ({ page }) => {
  await offPage("put", { name: "videos/typed.mp4" });
  await page.goto("/");
  await expect(row(page, "hlspi1")).toBeVisible();
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "Skip to the content" })).toBeFocused();
  await page.keyboard.press("Control+k");
  await page.keyboard.type("hlspi1");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "hlspi1" })).toBeVisible();
  await expect(page.locator("#view")).toBeFocused();
  await tabTo(page, "Settings");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("dialog")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog")).toBeHidden();
  await expect(page.getByRole("button", { name: "Settings" })).toBeFocused();
  await page.keyboard.press("Enter");
  await tabTo(page, "Labels", "textbox");
  await page.keyboard.press("Control+a");
  await page.keyboard.type("typed");
  await page.keyboard.press("Enter");
  await expect(notice(page, "Changed: labels")).toBeVisible();
  await expect(page.locator("#view header.title")).toContainText("typed");

  await tabTo(page, "Transcode", "link");
  await page.keyboard.press("Enter");
  await tabTo(page, "Or a video of the media share", "textbox");
  await page.keyboard.type("videos/typed.mp4");
  await page.keyboard.press("Enter");
  await expect(notice(page, "Handed in as job")).toBeVisible();
  await expect(page.getByRole("link", { name: "Play" })).toBeVisible();
  await tabTo(page, "Play", "link");
  await page.keyboard.press("Enter");
  await tabTo(page, "Play");
  await page.keyboard.press("Space");
  await expect.poll(() => page.locator("video").evaluate((video: HTMLVideoElement) => video.currentTime)).toBeGreaterThan(0);
  await page.goBack();
  await tabTo(page, "Forget");
  await page.keyboard.press("Enter");
  await tabTo(page, "Forget it");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL("/jobs");
});
