import type { ComponentChild } from "preact";
import { useEffect, useState } from "preact/hooks";
import { send } from "../model/api";
import { span } from "../model/format";
import { state } from "../model/live";
import { path } from "../model/router";
import { isLate, lookOf, originOf, receivedOf, workersOf } from "../model/stream";
import type { LiveStream } from "../model/types";
import { AddStream, KeyDialog } from "../parts/AddStream";
import { Button } from "../parts/Button";
import { Confirm } from "../parts/Confirm";
import { CopyButton } from "../parts/Copy";
import { Empty } from "../parts/Empty";
import { Glyph, Status } from "../parts/Icon";

// StreamsPage lists the live streams, starts and ends them.
export function StreamsPage() {
  const [adding, setAdding] = useState(location.hash === "#add");
  const streams = Object.values(state.value?.streams ?? {}).sort((a, b) => a.name.localeCompare(b.name));
  return (
    <section class="page">
      <header class="title"><h1>Live</h1><span class="grow" /><Button icon="plus" look="primary" onPress={() => setAdding(true)}>Start a stream</Button></header>
      <div class="card">
        {streams.length > 0 ? <ul class="rows">{streams.map((stream) => <StreamRow key={stream.job} stream={stream} />)}</ul>
          : <Empty title="No live stream runs.">A camera, an encoder such as OBS or a file can be streamed while it is sent. <a href={path.docs("live/")}>How live streams work</a></Empty>}
      </div>
      {adding && <AddStream onClose={() => setAdding(false)} />}
    </section>
  );
}

// A Still is a picture of a stream, by the player's library, which is loaded for that.
function Still({ stream }: { stream: LiveStream }) {
  const [Picture, setPicture] = useState<((props: { address: string }) => ComponentChild) | undefined>(undefined);
  const live = stream.state === "live" && stream.renditions.length > 0;
  useEffect(() => { if (live) void import("./Video").then((module) => setPicture(() => module.LiveStill)); }, [live]);
  return <a class="poster" href={path.live(stream.name)} tabIndex={-1} aria-hidden="true"><Glyph name="media" />{live && Picture && <Picture key={stream.job} address={stream.url} />}</a>;
}

function StreamRow({ stream }: { stream: LiveStream }) {
  const [shape, word] = lookOf(stream);
  const job = state.value?.jobs[stream.job];
  return (
    <li class="row stream">
      <Still stream={stream} />
      <span class="two"><a class="name clip" href={path.live(stream.name)}>{stream.name}</a><span class="muted small clip" title={originOf(stream)}>{originOf(stream)}</span></span>
      <Status shape={shape} word={word} />
      <span class="num clip">{stream.viewers > 0 && `${stream.viewers} watching`}</span>
      <span class="muted num clip">{receivedOf(stream)}{isLate(stream) && `, ${span(Math.round(stream.behind_seconds))} behind`}</span>
      <span class="muted clip">{stream.state === "ended" ? "" : workersOf(stream, job)}</span>
      <StreamActions stream={stream} />
    </li>
  );
}

// StreamActions are what can be done with a live stream.
export function StreamActions({ stream }: { stream: LiveStream }) {
  const [asking, setAsking] = useState<"stop" | "key" | undefined>(undefined);
  const over = stream.state === "ended" || stream.state === "stopping";
  const lost = `Its encoding ends with what was received, and players reach its end. ${stream.request.live?.keep ? "Then it is published as a video." : "Nothing of it is kept."}`;
  return (
    <span class="actions">
      <CopyButton text={new URL(stream.url, location.href).href}>Copy link</CopyButton>
      {!over && stream.request.live?.listen && <Button onPress={() => setAsking("key")}>Stream key</Button>}
      {!over && <Button icon="close" onPress={() => setAsking("stop")}>Stop</Button>}
      {asking === "stop" && <Confirm title={`Stop ${stream.name}?`} lost={lost} word="Stop it" done={`${stream.name} ends.`} run={() => send("DELETE", "streams/" + encodeURIComponent(stream.name))} onClose={() => setAsking(undefined)} />}
      {asking === "key" && <KeyDialog name={stream.name} onClose={() => setAsking(undefined)} />}
    </span>
  );
}
