import { useState } from "preact/hooks";
import { act } from "../model/act";
import { send } from "../model/api";
import { bytes, count, exact } from "../model/format";
import { state } from "../model/live";
import { query, setQuery } from "../model/router";
import type { Deleted, Video } from "../model/types";
import { Button } from "../parts/Button";
import { Confirm } from "../parts/Confirm";
import { Empty } from "../parts/Empty";
import { ChoiceField, Search, Tabs } from "../parts/Field";
import { Paged } from "../parts/Paged";
import { useStable } from "../parts/stable";
import { Ago } from "../parts/Time";
import { VideoCard } from "../parts/VideoCard";

const orders: Record<string, [text: string, compare: (a: Video, b: Video) => number]> = {
  new: ["newest first", (a, b) => b.modified.localeCompare(a.modified)],
  name: ["by name", (a, b) => a.name.localeCompare(b.name)],
  size: ["largest first", (a, b) => b.bytes - a.bytes],
  length: ["longest first", (a, b) => (b.seconds ?? 0) - (a.seconds ?? 0)],
};

// TrashCard lists what was deleted, and puts it back.
function TrashCard() {
  const [gone, setGone] = useState<Deleted | undefined>(undefined);
  const items = Object.values(state.value?.trash ?? {}).sort((a, b) => b.deleted.localeCompare(a.deleted));
  if (items.length === 0) return null;
  return (
    <details class="card trash">
      <summary><h2>Trash</h2><span class="muted num">{count(items.length, "video")}, {bytes(items.reduce((sum, item) => sum + item.bytes, 0))}</span></summary>
      <ul class="rows">
        {items.map((item) => (
          <li key={item.id} class="row deleted">
            <span class="name clip" title={item.path}>{item.path}</span>
            <span class="muted num">{bytes(item.bytes)}</span>
            <span class="muted clip">deleted <Ago at={item.deleted} />{item.by && " by " + item.by}{item.expires && <>, stays until {exact(new Date(item.expires))}</>}</span>
            <span class="actions"><Button icon="again" onPress={() => act(() => send("POST", `trash/${item.id}/restore`), `${item.path} is back.`)}>Put back</Button><Button icon="trash" label={`Delete ${item.path} for good`} look="quiet" onPress={() => setGone(item)} /></span>
          </li>
        ))}
      </ul>
      {gone && <Confirm title="Delete it for good?" lost={`${gone.path} (${bytes(gone.bytes)}) cannot come back then.`} word="Delete for good" done="Deleted for good." onClose={() => setGone(undefined)} run={() => send("DELETE", "trash/" + gone.id)} />}
    </details>
  );
}

export function VideosPage() {
  const all = Object.values(state.value?.media ?? {});
  const text = query("q"), kind = query("kind"), order = query("sort") || "new";
  const found = all.filter((video) => (video.name + " " + video.path).toLowerCase().includes(text.toLowerCase()));
  const wanted = found.filter((video) => kind === "" || video.kind === kind).sort((orders[order] ?? orders["new"])?.[1]);
  const { items, hold } = useStable(wanted, (video) => video.path, [text, kind, order].join("|"));
  const tabs = [["", "All"], ["hls", "HLS"], ["mp4", "MP4"], ["mkv", "MKV"]].map(([value = "", name = ""]) => ({ value, text: name, count: found.filter((video) => value === "" || video.kind === value).length })).filter((tab) => tab.count > 0 || tab.value === "" || tab.value === kind);
  return (
    <section class="page">
      <header class="title"><h1>Media</h1><span class="muted num">{all.length > 0 && `${count(all.length, "video")}, ${bytes(all.reduce((sum, video) => sum + video.bytes, 0))}`}</span></header>
      <div class="tools">
        <Tabs tabs={tabs} value={kind} label="Kind" onChange={(value) => setQuery("kind", value)} />
        <span class="grow" />
        <Search value={text} label="Search videos" onChange={(value) => setQuery("q", value)} />
        <ChoiceField label="Sort" value={order} onChange={(value) => setQuery("sort", value === "new" ? "" : value)} options={Object.entries(orders).map(([value, [name]]) => [value, name])} />
      </div>
      {items.length > 0 && <ul class="videos" {...hold}><Paged items={items}>{(video) => <VideoCard key={video.path} video={video} />}</Paged></ul>}
      {items.length === 0 && <div class="card">{all.length === 0
        ? <Empty title="Nothing is published yet."><a href="/submit">Transcode a video</a>. When it is done, it plays here.</Empty>
        : <Empty title="No video is like that."><a href="/videos">Show all media</a></Empty>}</div>}
      <TrashCard />
    </section>
  );
}
