import type { ComponentChild } from "preact";
import { useState } from "preact/hooks";
import { count } from "../model/format";
import { Button } from "./Button";

const page = 100;

// Paged shows the first hundred of a list, and more on demand: nobody reads further,
// and thousands of rows would make the page slow.
export function Paged<T>({ items, children }: { items: T[]; children: (item: T) => ComponentChild }) {
  const [shown, setShown] = useState(page);
  const left = items.length - shown;
  return (
    <>
      {items.slice(0, shown).map(children)}
      {left > 0 && <li class="more"><Button onPress={() => setShown(shown + page)}>{`Show ${Math.min(page, left)} more of ${count(left, "other", "others")}`}</Button></li>}
    </>
  );
}
