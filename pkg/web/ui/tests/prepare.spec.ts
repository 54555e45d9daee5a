import { request as requests } from "@playwright/test";
import { addBoards, address, expect, offPage, password, powerOn, sessionFile, test } from "./stage";

// What first-run.spec.ts does in a browser is done here without one.
test("there is a password, and a board that works", async () => {
  const api = await requests.newContext({ baseURL: address });
  const code = new URL(await offPage("link")).hash.slice(1);
  expect((await api.post("/api/v1/setup", { data: { password, code } })).status()).toBeLessThan(300);
  await api.storageState({ path: sessionFile });
  await offPage("template");
  await addBoards(1);
  await powerOn(1);
  await expect.poll(async () => ((await (await api.get("/api/v1/pis/hlspi1")).json()) as { online: boolean }).online).toBe(true);
  await api.dispose();
});
