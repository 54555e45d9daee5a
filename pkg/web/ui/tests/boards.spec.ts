import { addBoards, expect, notice, offPage, powerOff, powerOn, row, sessionFile, status, test } from "./stage";

test.use({ storageState: sessionFile });

test("what is wrong with two boards is said in a sentence each, and both are removed", async ({ page }) => {
  await addBoards(2, 3);
  await offPage("damage", { board: "2", file: "boot/firmware/kernel8.img" });
  await page.goto("/");
  await powerOn(2);
  const noKernel = "is a Raspberry Pi 4B and finds no kernel, kernel8.img.", elsewhere = "asked for its root from 10.77.0.77, not from 10.77.0.53 as registered: another DHCP server has answered it.";
  await expect(page.getByRole("alert")).toContainText("hlspi2 " + noKernel);
  await powerOn(3, { from: "10.77.0.77" });
  await expect(page.getByRole("region", { name: "Is all well?" })).toContainText("1 of 3 boards well");
  await expect(page.getByRole("region", { name: "Is all well?" })).toContainText("2 stuck");
  await expect(page.getByRole("alert")).toContainText("and 1 more");
  await page.getByRole("link", { name: "and 1 more" }).click();
  await expect(page).toHaveURL("/boards?state=stuck");
  await expect(row(page, "hlspi2")).toContainText(noKernel);
  await expect(row(page, "hlspi3")).toContainText(elsewhere);

  await row(page, "hlspi3").getByRole("link", { name: "hlspi3" }).click();
  await expect(page.locator("#view").getByLabel("Now")).toContainText("hlspi3 " + elsewhere);
  await expect(page.locator(".events").first()).toContainText("may not mount");
  await page.getByRole("button", { name: "Remove" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
  await expect(notice(page, "hlspi3 is removed.")).toBeVisible();
  await expect(page).toHaveURL("/boards");
  await page.goto("/boards/hlspi2");
  await page.getByRole("button", { name: "Remove" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Keep its root").uncheck();
  await expect(dialog).toContainText("lost for good");
  await expect(dialog.getByRole("button", { name: "Remove" })).toBeDisabled();
  await dialog.getByLabel("Type hlspi2 to confirm").fill("hlspi2");
  await dialog.getByRole("button", { name: "Remove" }).click();
  await expect(page.getByRole("region", { name: "Is all well?" })).toContainText("1 of 1 board well");
});

test("a board is drained, a job cancelled, and another retried", async ({ page }) => {
  for (const name of ["waits", "mended"]) await offPage("put", { name: `videos/${name}.mp4`, ...(name === "mended" ? { text: "no video" } : {}) });
  const submit = async (source: string) => {
    await page.goto("/submit");
    await page.getByLabel("Or a video of the media share").fill(source);
    await page.getByRole("button", { name: "Transcode" }).click();
    await expect(notice(page, "Handed in as job")).toBeVisible();
  };
  await page.goto("/boards/hlspi1");
  await page.getByRole("button", { name: "Drain" }).click();
  await expect(status(page.locator("#view"))).toHaveText("drained");
  await submit("videos/waits.mp4");
  await expect(status(page.locator("#view"))).toHaveText("waiting");
  await page.getByRole("button", { name: "Cancel" }).click();
  await expect(page.getByRole("dialog")).toContainText("Nothing is lost: no part of it is done.");
  await page.getByRole("dialog").getByRole("button", { name: "Cancel the job" }).click();
  await expect(status(page.locator("#view"))).toHaveText("cancelled");
  await submit("videos/mended.mp4");
  await page.goto("/boards/hlspi1");
  await page.getByRole("button", { name: "End the drain" }).click();
  await expect(status(page.locator("#view"))).toHaveText(/well|working/);

  await page.goto("/jobs?state=failed");
  await expect(row(page, "mended.mp4")).toContainText("failed");
  await row(page, "mended.mp4").getByRole("link", { name: "mended.mp4" }).click();
  await expect(page.getByLabel("Why it failed")).toContainText("not a video that ffmpeg can read");
  await offPage("put", { name: "videos/mended.mp4" });
  await page.getByRole("button", { name: "Retry" }).click();
  await expect(notice(page, "Handed in again as job")).toBeVisible();
  await expect(status(page.locator("#view"))).toHaveText("done");
  await page.getByRole("link", { name: "Play" }).click();
  await expect(page.getByRole("heading", { name: "mended" })).toBeVisible();
});

test("two new boards are added at once", async ({ page }) => {
  await page.goto("/boards");
  for (const board of [4, 5]) {
    await powerOn(board);
    await expect(row(page, `dc:a6:32:00:00:0${board}`)).toContainText("serial 2000000" + board);
    await powerOff(board);
  }
  await page.getByRole("button", { name: "Add 2 new" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("First name").fill("hlspi4");
  await dialog.getByLabel("Labels").fill("row2");
  await expect(dialog).toContainText("hlspi5");
  await dialog.getByRole("button", { name: "Add 2 boards" }).click();
  await expect(notice(page, "2 boards are added.")).toBeVisible();
  await expect(row(page, "20000004")).toContainText("hlspi4");
  await expect(row(page, "20000005")).toContainText("hlspi5");
  await expect(row(page, "hlspi5")).toContainText("row2");
});

test("the root of a board is compared, reset, upgraded, rolled back and copied", async ({ page }) => {
  await offPage("damage", { board: "4", file: "etc/os-release" });
  await page.goto("/boards/hlspi4");
  const dialog = page.getByRole("dialog"), root = page.getByRole("region", { name: "Its root" });
  const differs = async (text: string) => {
    await root.getByRole("button", { name: "What differs?" }).click();
    await expect(dialog).toContainText(text);
    await dialog.getByRole("button", { name: "Close", exact: true }).last().click();
    await expect(dialog).toBeHidden();
  };
  await differs("etc/os-release");
  await root.getByRole("button", { name: "Reset" }).click();
  await expect(dialog).toContainText("the present root is kept");
  await dialog.getByRole("button", { name: "Reset" }).click();
  await expect(notice(page, "hlspi4 has another root.")).toBeVisible();
  await expect(root.getByRole("heading", { name: "Kept roots" })).toBeVisible();
  await differs("Nothing differs from tiny@1.");

  await offPage("template");
  await expect(root).toContainText("a newer version is there");
  await root.getByRole("button", { name: "Reset or upgrade" }).click();
  await dialog.getByLabel("Template").selectOption("tiny@2");
  await dialog.getByRole("button", { name: "Reset" }).click();
  await expect(root.locator("dd").first()).toHaveText("tiny@2");
  await expect(root.locator(".rows > li")).toHaveCount(2);
  await root.getByRole("button", { name: "Roll back" }).click();
  await dialog.getByLabel("Root").selectOption({ index: 1 }); // the first one that was kept
  await dialog.getByRole("button", { name: "Roll back" }).click();
  await expect(root.locator("dd").first()).toContainText("tiny@1");
  await differs("etc/os-release");
  await root.getByRole("button", { name: /^Delete the root of/ }).first().click();
  await dialog.getByRole("textbox").fill("hlspi4");
  await dialog.getByRole("button", { name: "Delete it" }).click();
  await expect(notice(page, "Deleted.")).toBeVisible();
  await expect(root.locator(".rows > li")).toHaveCount(1);

  await page.goto("/templates");
  await page.getByRole("button", { name: "Make a template" }).click();
  await dialog.getByText("A board's root").click();
  await expect(dialog.getByRole("button", { name: "Copy" })).toBeDisabled(); // hlspi1 runs
  await dialog.getByLabel("Board", { exact: true }).selectOption("hlspi4");
  await dialog.getByLabel("Name").fill("copied");
  await dialog.getByLabel("Even if kernel modules or firmware files are missing").check();
  await dialog.getByRole("button", { name: "Copy" }).click();
  await expect(row(page, "copied@1")).toContainText("no board");
  await row(page, "copied@1").getByRole("link").click();
  await page.getByRole("button", { name: "Delete" }).click();
  await dialog.getByRole("textbox").fill("copied@1");
  await dialog.getByRole("button", { name: "Delete it" }).click();
  await expect(notice(page, "copied@1 is deleted.")).toBeVisible();
});
