import { drop, expect, film, gate, notice, offPage, sessionFile, status, test } from "./stage";

test.use({ storageState: sessionFile, baseURL: gate });

const held = 4 << 20; // bytes of 16 MB

test("a video is dropped, its upload goes on after a broken connection, a killed daemon and a reload", async ({ page, expected }) => {
  expected.push(/net::ERR_/);
  await page.goto("/submit");
  await drop(page, film);
  await expect(page.locator(".drop")).toContainText("a film.mp4");
  await offPage("hold", { bytes: String(held) });
  await page.getByRole("button", { name: "Upload and transcode" }).click();
  const upload = page.getByRole("region", { name: "Uploads" });
  await expect(upload).toContainText(/[1-9]\d? % of 1\d/);

  await offPage("cut");
  await expect(upload).toContainText("The connection to pibootd ended. It goes on as soon as that is back.");
  await expect(page.getByRole("alert").filter({ hasText: "pibootd does not answer since" })).toBeVisible();
  await expect(page.locator("html")).toHaveClass(/is-lost/);
  await offPage("kill");
  await offPage("restart");
  await offPage("hold", { bytes: String(held) });
  await expect(page.locator("html")).not.toHaveClass(/is-lost/);
  await expect(upload).toContainText(/[2-9]\d % of/);

  await page.reload();
  await expect(page.locator(".interrupted")).toContainText("a film.mp4");
  await drop(page, film);
  await expect(page.locator(".drop")).toContainText("goes on, 1");
  await page.getByRole("button", { name: "Upload and transcode" }).click();
  await expect(upload).toContainText(/[3-9]\d % of/);
  await upload.getByRole("button", { name: "Pause" }).click();
  await expect(upload).toContainText("paused at");
  await offPage("release");
  await upload.getByRole("button", { name: "Try again" }).click();
  await expect(notice(page, "a film.mp4 is job")).toBeVisible();
  await expect(upload).toBeHidden();
});

test("the strip of a job fills, and its video plays with its sound and subtitles", async ({ page }) => {
  await page.goto("/jobs");
  await page.evaluate(() => {
    const seen = new Set<string>();
    Object.assign(window, { seen });
    new MutationObserver(() => {
      const strip = document.querySelector("[role=img].strip");
      if (!strip) return;
      seen.add(strip.getAttribute("aria-label") ?? "");
      for (const cell of strip.querySelectorAll(".cell")) seen.add(cell.className);
    }).observe(document.body, { subtree: true, childList: true, attributes: true });
  });
  await page.getByRole("link", { name: "a film.mp4" }).click();
  await expect(status(page.locator("#view"))).toHaveText("done");
  const seen = await page.evaluate(() => [...(window as unknown as { seen: Set<string> }).seen]);
  expect(seen.filter((one) => /^[1-9]\d* of \d+ parts done, hlspi1 at work/.test(one)), "how far the strip was: " + seen.join("; ")).not.toEqual([]);
  expect(seen.some((one) => /cell running by\d/.test(one)) && seen.some((one) => /cell done by\d/.test(one))).toBe(true);

  await page.getByRole("link", { name: "Play" }).click();
  await page.getByLabel("Subtitles").selectOption("English");
  await page.getByLabel("Sound", { exact: true }).selectOption("Deutsch");
  await page.locator("video").evaluate((video: HTMLVideoElement) => {
    const cues: string[] = [];
    const note = (track: TextTrack) => { track.oncuechange = () => cues.push(...[...(track.activeCues ?? [])].map((cue) => (cue as VTTCue).text)); };
    Object.assign(window, { cues });
    for (const track of video.textTracks) note(track);
    video.textTracks.onaddtrack = (event) => { if (event.track) note(event.track); };
    video.playbackRate = 4;
  });
  await page.getByRole("button", { name: "Play" }).click();
  await expect.poll(() => page.evaluate(() => (window as unknown as { cues: string[] }).cues)).toEqual(["first", "last"]);
  await page.getByLabel("Position").hover();
  await expect(page.locator(".scene .picture")).toBeVisible();
  await page.getByLabel("Position").press("End");
  await expect.poll(() => page.locator("video").evaluate((video: HTMLVideoElement) => video.ended)).toBe(true);
  await expect(page.getByLabel("Sound", { exact: true })).toHaveValue("1");
});
