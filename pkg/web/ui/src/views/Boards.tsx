import { useState } from "preact/hooks";
import { allViews, byName, conditions, conditionWords, modelOf, type View } from "../model/board";
import { now } from "../model/clock";
import { state } from "../model/live";
import { query, setQuery } from "../model/router";
import { AddBoard } from "../parts/AddBoard";
import { AddSeveral } from "../parts/AddBoards";
import { BoardRow } from "../parts/BoardRow";
import { Button } from "../parts/Button";
import { Empty } from "../parts/Empty";
import { ChoiceField, Search, Tabs } from "../parts/Field";
import { Paged } from "../parts/Paged";
import { useStable } from "../parts/stable";
import { StrangerRow } from "../parts/StrangerRow";

const orders: Record<string, (a: View, b: View) => number> = {
  name: byName,
  state: (a, b) => conditions.indexOf(a.condition) - conditions.indexOf(b.condition) || byName(a, b),
  address: (a, b) => number(a.board?.ip) - number(b.board?.ip) || byName(a, b),
  template: (a, b) => (a.board?.template ?? "").localeCompare(b.board?.template ?? "") || (a.board?.version ?? 0) - (b.board?.version ?? 0) || byName(a, b),
};

function number(ip = "255.255.255.255"): number {
  return ip.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
}

function matches(view: View, text: string): boolean {
  const all = [view.name, view.board?.serial, view.board?.mac, view.board?.ip, view.board?.template, view.board && modelOf(view.board), view.word, view.sentence, ...view.labels].join(" ").toLowerCase();
  return text.toLowerCase().split(/\s+/).every((word) => all.includes(word));
}

export function BoardsPage() {
  const [adding, setAdding] = useState(false);
  const all = state.value;
  const views = all ? allViews(all, now.value) : [];
  const text = query("q"), chosen = query("state"), label = query("label"), order = query("sort") || "name";
  const labels = [...new Set(views.flatMap((view) => view.labels))].sort();
  const found = chosen === "" || chosen === "new" ? Object.values(all?.discovered ?? {}).filter((one) => [one.mac, one.serial, one.model].join(" ").toLowerCase().includes(text.toLowerCase())) : [];
  const wanted = views.filter((view) => (chosen === "" || view.condition === chosen) && (label === "" || view.labels.includes(label)) && matches(view, text)).sort(orders[order] ?? byName);
  const { items, hold } = useStable(wanted, (view) => view.key, [text, chosen, label, order].join("|"));
  const tabs = [{ value: "", text: "All", count: views.length }, ...conditions.map((one) => ({ value: one as string, text: conditionWords[one], count: views.filter((view) => view.condition === one).length })), { value: "new", text: "new", count: Object.keys(all?.discovered ?? {}).length }]
    .filter((tab) => tab.count > 0 || tab.value === chosen || tab.value === "");
  return (
    <section class="page">
      <header class="title"><h1>Boards</h1><span class="grow" /><AddSeveral found={Object.values(all?.discovered ?? {})} /><Button icon="plus" look="primary" onPress={() => setAdding(true)}>Add a board</Button></header>
      <div class="tools">
        <Tabs tabs={tabs} value={chosen} label="State" onChange={(value) => setQuery("state", value)} />
        <span class="grow" />
        <Search value={text} label="Search boards" onChange={(value) => setQuery("q", value)} />
        {labels.length > 0 && <ChoiceField label="Label" value={label} onChange={(value) => setQuery("label", value)} options={[["", "any label"], ...labels.map((one): [string, string] => [one, one])]} />}
        <ChoiceField label="Sort by" value={order} onChange={(value) => setQuery("sort", value === "name" ? "" : value)} options={Object.keys(orders).map((one) => [one, "by " + one])} />
      </div>
      <div class="card" {...hold}>
        <div class="row board headings wide-only" aria-hidden="true"><span>Name</span><span>State</span><span>Now</span><span>Health</span><span>Model, serial</span><span>Address</span><span>Template</span><span>Labels</span></div>
        <ul class="rows">
          {found.sort((a, b) => b.last_seen.localeCompare(a.last_seen)).map((one) => <StrangerRow key={one.mac} found={one} />)}
          <Paged items={items}>{(view) => <BoardRow key={view.key} view={view} />}</Paged>
        </ul>
        {items.length === 0 && found.length === 0 && (views.length === 0
          ? <Empty title="No boards yet.">Switch on a Raspberry Pi that boots from the network. It appears here, with a button to add it.</Empty>
          : <Empty title="No board is like that."><a href="/boards">Show all boards</a></Empty>)}
      </div>
      {adding && <AddBoard onClose={() => setAdding(false)} />}
    </section>
  );
}
