import { bytes, runtime } from "../model/format";
import { qualityOf, renditionName } from "../model/job";
import { state } from "../model/live";
import { path } from "../model/router";
import type { Video } from "../model/types";
import { CopyButton, CopyLine } from "../parts/Copy";
import { Glyph } from "../parts/Icon";
import { Player } from "../parts/Player";
import { Ago } from "../parts/Time";
import { Missing } from "./Missing";

function embedOf(video: Video, address: string): string {
  if (video.kind !== "hls") return `<video src="${address}" controls></video>`;
  return `<video id="video" controls></video>\n<script src="https://cdn.jsdelivr.net/npm/hls.js@1"></script>\n<script>\n  const hls = new Hls();\n  hls.loadSource("${address}");\n  hls.attachMedia(document.getElementById("video"));\n</script>`;
}

export function VideoPage({ place }: { place: string }) {
  const video = state.value?.media[place];
  if (!video) return <Missing what="video" />;
  const address = new URL(path.media(video.path), location.href).href;
  const job = Object.values(state.value?.jobs ?? {}).find((one) => one.output === video.path && one.state === "done");
  return (
    <section class="page watch">
      <p class="crumbs"><a href="/videos">Media</a> / {video.kind.toUpperCase()}</p>
      <header class="title">
        <h1 class="clip">{video.name}</h1><span class="grow" />
        <div class="actions">
          <CopyButton text={address}>Copy link</CopyButton>
          {video.kind !== "hls" && <a class="button" href={path.media(video.path)} download={video.path.split("/").pop()}><Glyph name="download" />Download</a>}
        </div>
      </header>
      <Player key={video.path} video={video} />
      <div class="halves">
        <section class="card" aria-labelledby="video-facts"><h2 id="video-facts">The video</h2>
          <dl class="facts-list">
            <dt>Is</dt><dd>{qualityOf(video)}, <span class="num">{bytes(video.bytes)}</span></dd>
            {video.seconds ? <><dt>Length</dt><dd class="num">{runtime(video.seconds)}</dd></> : null}
            {video.renditions && video.renditions.length > 0 && <><dt>Renditions</dt><dd class="num">{[...video.renditions].sort((a, b) => b.bps - a.bps).map((one) => <span key={one.bps} class="block">{renditionName(one)}</span>)}</dd></>}
            {video.audio && video.audio.length > 0 && <><dt>Sound</dt><dd>{video.audio.join(", ")}</dd></>}
            {video.subtitles && video.subtitles.length > 0 && <><dt>Subtitles</dt><dd>{video.subtitles.join(", ")}</dd></>}
            <dt>Made</dt><dd><Ago at={video.modified} />{job && <>, by <a href={path.job(job.id)}>job {job.id}</a></>}</dd>
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
