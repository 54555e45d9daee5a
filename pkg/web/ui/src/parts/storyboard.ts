// A Scene is a part of a picture that shows what a video looks like at a time.
export interface Scene { start: number; end: number; picture: string; x: number; y: number; width: number; height: number }

function seconds(stamp: string): number {
  return stamp.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
}

// scenesOf reads the WebVTT of a storyboard: cues such as 1.jpg#xywh=0,0,160,90.
export function scenesOf(text: string, address: string): Scene[] {
  const scenes: Scene[] = [];
  for (const cue of text.split(/\r?\n\r?\n/)) {
    const found = /([\d:.]+) --> ([\d:.]+)[^\n]*\n([^\n#]+)#xywh=(\d+),(\d+),(\d+),(\d+)/.exec(cue);
    if (!found) continue;
    const [, start = "", end = "", name = "", ...box] = found;
    const [x = 0, y = 0, width = 0, height = 0] = box.map(Number);
    scenes.push({ start: seconds(start), end: seconds(end), picture: new URL(name, new URL(address, location.href)).href, x, y, width, height });
  }
  return scenes;
}

export function sceneAt(scenes: Scene[], time: number): Scene | undefined {
  return scenes.find((scene) => time >= scene.start && time < scene.end) ?? scenes.at(-1);
}
