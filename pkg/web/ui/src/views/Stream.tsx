import { span } from "../model/format";
import { state } from "../model/live";
import { path } from "../model/router";
import { lookOf, originOf, receivedOf, workersOf } from "../model/stream";
import type { Video } from "../model/types";
import { CopyLine } from "../parts/Copy";
import { Empty } from "../parts/Empty";
import { Status } from "../parts/Icon";
import { Player } from "../parts/Player";
import { Ago } from "../parts/Time";
import { Missing } from "./Missing";
import { StreamActions } from "./Streams";

// StreamPage plays a live stream.
export function StreamPage({ name }: { name: string }) {
  const stream = state.value?.streams[name];
  if (!stream) return <Missing what="live stream" />;
  const [shape, word] = lookOf(stream);
  const video: Video = { path: stream.url, name, kind: "hls", bytes: 0, modified: "" };
  return (
    <section class="page watch">
      <p class="crumbs"><a href="/streams">Live</a></p>
      <header class="title"><h1 class="clip">{name}</h1><Status shape={shape} word={word} /><span class="grow" /><StreamActions stream={stream} /></header>
      {stream.renditions.length > 0 ? <Player key={stream.job} video={video} address={stream.url} /> : <div class="card"><Empty title="Nothing has been received yet.">{originOf(stream)}</Empty></div>}
      <section class="card stack" aria-labelledby="stream-facts"><h2 id="stream-facts">The stream</h2>
        <dl class="facts-list">
          <dt>Source</dt><dd class="break">{originOf(stream)}</dd>
          <dt>Watching</dt><dd class="num">{stream.viewers || "nobody"}</dd>
          <dt>Received</dt><dd class="num">{receivedOf(stream)}{stream.connections > 1 && `, over ${stream.connections} connections`}</dd>
          <dt>Not encoded yet</dt><dd class="num">{span(Math.round(stream.behind_seconds))}</dd>
          {stream.renditions.length > 0 && <><dt>Renditions</dt><dd>{stream.renditions.join(", ")}</dd></>}
          <dt>Workers</dt><dd>{workersOf(stream, state.value?.jobs[stream.job])}</dd>
          {stream.started && <><dt>Oldest part</dt><dd><Ago at={stream.started} /></dd></>}
          <dt>Job</dt><dd><a href={path.job(stream.job)}>job {stream.job}</a></dd>
        </dl>
        <CopyLine label="Address" text={new URL(stream.url, location.href).href} />
      </section>
    </section>
  );
}
