import { useState } from "preact/hooks";
import { act, tell } from "../model/act";
import { send } from "../model/api";
import { bytes, runtime, span } from "../model/format";
import { growing, qualityOf, renditionName } from "../model/job";
import { state } from "../model/live";
import { go, path } from "../model/router";
import type { Deleted, Video } from "../model/types";
import { Button } from "../parts/Button";
import { Confirm } from "../parts/Confirm";
import { CopyButton, CopyLine } from "../parts/Copy";
import { Glyph } from "../parts/Icon";
import { Player } from "../parts/Player";
import { Ago } from "../parts/Time";
import { Missing } from "./Missing";

// With it, because the player's library is one piece of the bundle.
export { LiveStill } from "../parts/LiveStill";
export { StreamPage } from "./Stream";

function embedOf(video: Video, address: string): string {
  if (video.kind !== "hls") return `<video src="${address}" controls></video>`;
  return `<video id="video" controls></video>\n<script src="https://cdn.jsdelivr.net/npm/hls.js@1"></script>\n<script>\n  const hls = new Hls();\n  hls.loadSource("${address}");\n  hls.attachMedia(document.getElementById("video"));\n</script>`;
}

// DeleteVideo moves a video to the trash, from where it can be put back.
function DeleteVideo({ video, onClose }: { video: Video; onClose: () => void }) {
  const keep = state.value?.system?.trash_keep ?? 0;
  const run = async () => {
    const item = await send<Deleted>("DELETE", "media/" + video.path.split("/").map(encodeURIComponent).join("/"));
    tell(`${video.name} is in the trash.`, false, () => act(() => send("POST", `trash/${item.id}/restore`), `${video.name} is back.`));
    go("/videos");
  };
  const lost = `Its ${bytes(video.bytes)} go to the trash, and players do not get it any more. ${keep ? `It can be put back for ${span(keep)}; then it is deleted for good.` : "It can be put back until somebody deletes it there."}`;
  return <Confirm title={`Delete ${video.name}?`} lost={lost} word="Delete" run={run} onClose={onClose} />;
}

export function VideoPage({ place }: { place: string }) {
  const video = state.value?.media[place];
  const [deleting, setDeleting] = useState(false);
  if (!video) return <Missing what="video" />;
  const address = new URL(path.media(video.path), location.href).href;
  const jobs = Object.values(state.value?.jobs ?? {}).filter((one) => one.output === video.path);
  const job = jobs.find((one) => one.state === "done"), making = jobs.find(growing);
  return (
    <section class="page watch">
      <p class="crumbs"><a href="/videos">Media</a> / {video.kind.toUpperCase()}</p>
      <header class="title">
        <h1 class="clip">{video.name}</h1><span class="grow" />
        <div class="actions">
          <CopyButton text={address}>Copy link</CopyButton>
          {video.kind !== "hls" && <a class="button" href={path.media(video.path)} download={video.path.split("/").pop()}><Glyph name="download" />Download</a>}
          <Button icon="trash" onPress={() => setDeleting(true)}>Delete</Button>
          {deleting && <DeleteVideo video={video} onClose={() => setDeleting(false)} />}
        </div>
      </header>
      <Player key={video.path} video={video} address={making ? path.stream(making.id) : path.media(video.path)} />
      <div class="halves">
        <section class="card" aria-labelledby="video-facts"><h2 id="video-facts">The video</h2>
          <dl class="facts-list">
            <dt>Is</dt><dd>{qualityOf(video)}, <span class="num">{bytes(video.bytes)}</span></dd>
            {video.seconds ? <><dt>Length</dt><dd class="num">{runtime(video.seconds)}</dd></> : null}
            {video.renditions && video.renditions.length > 0 && <><dt>Renditions</dt><dd class="num">{[...video.renditions].sort((a, b) => b.bps - a.bps).map((one) => <span key={one.bps} class="block">{renditionName(one)}</span>)}</dd></>}
            {video.audio && video.audio.length > 0 && <><dt>Sound</dt><dd>{video.audio.join(", ")}</dd></>}
            {video.subtitles && video.subtitles.length > 0 && <><dt>Subtitles</dt><dd>{video.subtitles.join(", ")}</dd></>}
            <dt>Made</dt><dd><Ago at={video.modified} />{job && <>, by <a href={path.job(job.id)}>job {job.id}</a></>}{making && <>, not all of it yet: <a href={path.job(making.id)}>job {making.id}</a></>}</dd>
          </dl>
        </section>
        <section class="card stack" aria-labelledby="share"><h2 id="share">Elsewhere</h2>
          <p class="muted">The address for players such as VLC, mpv or a TV:</p>
          <CopyLine label="Address" text={address} />
          <p class="muted">In a page of your own:</p>
          <CopyLine label="For a page" text={embedOf(video, address)} />
        </section>
      </div>
    </section>
  );
}
