import { defineConfig } from "@playwright/test";
import { address, dir, soon, stage } from "./stage";

// TestDashboard in cmd/pibootd starts the daemon and the rest of the stage, and this.
export default defineConfig({
  outputDir: dir + "/results",
  reporter: "list",
  workers: 1,
  timeout: 2 * soon,
  expect: { timeout: soon },
  projects: stage === "boards"
    ? [{ name: "first", testMatch: "first-run.spec.ts" }, { name: "boards", testMatch: "boards.spec.ts", dependencies: ["first"] }]
    : [{ name: "first", testMatch: "prepare.spec.ts" }, { name: "videos", testMatch: ["people.spec.ts", "video.spec.ts"], dependencies: ["first"] }],
  use: {
    baseURL: address,
    actionTimeout: soon,
    navigationTimeout: soon,
    contextOptions: { reducedMotion: "reduce" }, // nobody waits for a movement to end
    launchOptions: { executablePath: "/usr/bin/chromium", args: ["--autoplay-policy=no-user-gesture-required", "--mute-audio"] },
  },
});
