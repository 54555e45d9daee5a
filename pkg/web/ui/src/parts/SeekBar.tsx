import { useState } from "preact/hooks";
import { runtime } from "../model/format";
import { sceneAt, type Scene } from "./storyboard";

interface Properties {
  times: { at: number; length: number; buffered: number };
  scenes: Scene[];
  onSeek: (to: number) => void;
}

// A SeekBar shows the scene that the pointer is at.
export function SeekBar({ times, scenes, onSeek }: Properties) {
  const [over, setOver] = useState<number | undefined>(undefined);
  const length = times.length || 1;
  const scene = over === undefined ? undefined : sceneAt(scenes, over * length);
  return (
    <div class="seek" onPointerLeave={() => setOver(undefined)} onPointerMove={(event) => {
      const box = event.currentTarget.getBoundingClientRect();
      setOver(Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)));
    }}>
      <div class="seek-track"><span class="buffered" style={{ width: (times.buffered / length) * 100 + "%" }} /><span class="played" style={{ width: (times.at / length) * 100 + "%" }} /></div>
      <input type="range" min={0} max={times.length || 0} step={0.1} value={times.at} aria-label="Position" aria-valuetext={`${runtime(times.at)} of ${runtime(times.length)}`} onInput={(event) => onSeek(Number(event.currentTarget.value))} />
      {over !== undefined && (
        <div class="scene" style={{ left: over * 100 + "%" }}>
          {scene && <span class="picture" style={{ width: scene.width + "px", height: scene.height + "px", backgroundImage: `url("${scene.picture}")`, backgroundPosition: `-${scene.x}px -${scene.y}px` }} />}
          <span class="num">{runtime(over * length)}</span>
        </div>
      )}
    </div>
  );
}
