import { address, expect, notice, offPage, password, powerOn, row, sessionFile, test } from "./stage";

test.use({ ignoreHTTPSErrors: true }); // the link's certificate is pibootd's own

// From the set-up link to the first board that works.
test("the first run leads from a set-up link to a board that works", async ({ page }) => {
  await page.goto("/boards");
  await expect(page.getByText("There is no password yet.")).toBeVisible();
  await page.goto(await offPage("link"));
  await page.getByLabel("Password").fill(password);
  await page.getByLabel("The same again").fill("another one");
  await page.getByRole("button", { name: "Make it" }).click();
  await expect(page.getByRole("alert")).toHaveText("The two passwords differ.");
  await page.getByLabel("The same again").fill(password);
  await page.getByRole("button", { name: "Make it" }).click();

  const step = page.locator("[aria-current=step]");
  await expect(step).toContainText("A template: the system that boards boot");
  await offPage("template");
  await expect(step).toContainText("The first board");
  await powerOn(1);
  await expect(step).toContainText("A board has asked for an address.");
  const stranger = row(page, "dc:a6:32:00:00:01");
  await expect(stranger).toContainText("Pi 4, serial 20000001, seen");
  await stranger.getByRole("button", { name: "Add" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name").fill("not a name");
  await dialog.getByRole("button", { name: "Add" }).click();
  await expect(dialog.locator(".field.wrong")).toContainText("Name");
  await dialog.getByLabel("Name").fill("hlspi1");
  await dialog.getByLabel("Muxer id").fill("1");
  await dialog.getByLabel("Labels").fill("row1");
  await dialog.getByRole("button", { name: "Add" }).click();
  await expect(notice(page, "hlspi1 is added.")).toBeVisible();
  await expect(row(page, "hlspi1").locator(".status")).toHaveText("well");
  await expect(step).toContainText("The first video");
  await row(page, "hlspi1").getByRole("link", { name: "hlspi1" }).click();
  await expect(page.locator("#view")).toContainText("Its worker is online and waits for work.");
  await expect(page.locator(".events").first()).toContainText("worker online");

  await page.goto(address + "boards/hlspi1"); // by plain HTTP, where this login does not count
  await page.getByLabel("Password").fill("wrong password");
  await page.getByRole("button", { name: "Log in", exact: true }).click();
  await expect(page.getByRole("alert")).toContainText("password");
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Log in", exact: true }).click();
  await expect(page.getByRole("heading", { name: "hlspi1" })).toBeVisible();
  await page.context().storageState({ path: sessionFile });
});
