import { useRef } from "preact/hooks";

// useStable keeps the order of a list while the pointer is over it or the keyboard in
// it, so that nothing moves away from under them; what is new comes last until then.
export function useStable<T>(items: T[], keyOf: (item: T) => string, sortedBy: string): { items: T[]; hold: { onPointerEnter: () => void; onPointerLeave: () => void } } {
  const held = useRef(false);
  const before = useRef<{ keys: string[]; by: string }>({ keys: [], by: "" });
  let shown = items;
  if (held.current && before.current.by === sortedBy) {
    const place = new Map(before.current.keys.map((key, i) => [key, i]));
    shown = [...items].sort((a, b) => (place.get(keyOf(a)) ?? Infinity) - (place.get(keyOf(b)) ?? Infinity) || 0);
  }
  before.current = { keys: shown.map(keyOf), by: sortedBy };
  return { items: shown, hold: { onPointerEnter: () => { held.current = true; }, onPointerLeave: () => { held.current = false; } } };
}
