import { allViews } from "../model/board";
import { now } from "../model/clock";
import { count } from "../model/format";
import { state } from "../model/live";
import { address, path } from "../model/router";
import { Mark } from "./Icon";

// Alerts name what does not work, with the way to it; there are none when all is well.
export function Alerts() {
  const all = state.value;
  if (!all || address.value.pathname.startsWith("/boards/")) return null;
  const stuck = allViews(all, now.value).filter((view) => view.condition === "stuck");
  const first = stuck[0];
  if (!first) return null;
  return (
    <div class="alert" role="alert">
      <Mark shape="stuck" />
      <p><b>{first.name}</b> {first.sentence || "is stuck."}{first.action && <span class="todo"> {first.action}</span>}</p>
      <a class="button" href={path.board(first.name)}>Show</a>
      {stuck.length > 1 && <a class="button" href="/boards?state=stuck">and {count(stuck.length - 1, "more", "more")}</a>}
    </div>
  );
}
