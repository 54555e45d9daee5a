import { useState } from "preact/hooks";
import type { Discovered } from "../model/types";
import { AddBoard } from "./AddBoard";
import { Button } from "./Button";
import { Status } from "./Icon";
import { Ago } from "./Time";

// A StrangerRow is a board that asked for an address and is not registered.
export function StrangerRow({ found }: { found: Discovered }) {
  const [adding, setAdding] = useState(false);
  return (
    <li class="row board is-new">
      <span class="name num clip">{found.mac}</span>
      <Status shape="new" word="new" />
      <span class="seen muted clip">{[found.model, found.serial && "serial " + found.serial].filter(Boolean).join(", ")}{(found.model || found.serial) && ", "}seen <Ago at={found.last_seen} /></span>
      <span class="end"><Button icon="plus" onPress={() => setAdding(true)}>Add</Button></span>
      {adding && <AddBoard found={found} onClose={() => setAdding(false)} />}
    </li>
  );
}
