import { defineConfig } from "@playwright/test";
import { address, dir, soon } from "./stage";

// TestDashboard in cmd/pibootd starts the daemon and the rest of the stage, and this.
export default defineConfig({
  outputDir: dir + "/results",
  reporter: "list",
  workers: 1,
  timeout: 2 * soon,
  expect: { timeout: soon },
  projects: [
    { name: "first", testMatch: "first-run.spec.ts" },
    { name: "then", testIgnore: "first-run.spec.ts", dependencies: ["first"] },
  ],
  use: {
    baseURL: address,
    actionTimeout: soon,
    navigationTimeout: soon,
    contextOptions: { reducedMotion: "reduce" }, // nobody waits for a movement to end
    launchOptions: { executablePath: "/usr/bin/chromium", args: ["--autoplay-policy=no-user-gesture-required", "--mute-audio"] },
  },
});
